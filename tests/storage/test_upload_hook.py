"""The hook that is asked before an upload becomes visible."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from basalt.config import ConfigError, load_settings
from basalt.postgres import DatabaseAccess
from tests.fakes.small_server import Reply
from tests.fakes.webhook import Webhook, json_reply, webhook
from tests.storage.in_process import Storage, storage
from tests.storage.tus import BASE, BODY, TUS, metadata

pytestmark = pytest.mark.req("P8")

SECRET = "v1,whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"


@pytest.fixture
def scanner() -> Iterator[tuple[Webhook, str]]:
    hook = Webhook([SECRET], [json_reply({})])
    with webhook(hook) as url:
        yield hook, url


@pytest.fixture
async def scanned(
    database: DatabaseAccess, tmp_path: Path, scanner: tuple[Webhook, str]
) -> AsyncIterator[Storage]:
    """A project whose uploads are looked at, with the bucket `b`."""
    environ = {
        "BASALT_STORAGE_UPLOAD_HOOK_ENABLED": "true",
        "BASALT_STORAGE_UPLOAD_HOOK_URI": scanner[1],
        "BASALT_STORAGE_UPLOAD_HOOK_SECRETS": SECRET,
        "BASALT_STORAGE_UPLOAD_HOOK_TIMEOUT": "0.5s",
    }
    async with storage(tmp_path, database, environ) as running:
        await running.admin.post("/bucket", json={"name": "b"})
        yield running


async def test_the_hook_sees_the_bytes_before_anybody_else(
    scanned: Storage, scanner: tuple[Webhook, str]
) -> None:
    hook, _ = scanner
    seen: list[object] = []

    def scan(payload: dict[str, dict[str, str]]) -> Reply:
        place = urlsplit(payload["upload"]["url"])
        url = f"{scanned.url}{place.path}?{place.query}"
        seen.append(httpx2.get(url).content)
        other = url.replace(payload["upload"]["version"], "9a32ff5c-7d5e-4f5d-8a39-6f6a2b6f0d1e", 1)
        seen.append(httpx2.get(other).json()["code"])
        headers = {"authorization": f"Bearer {scanned.keys.service_role_key}"}
        seen.append(httpx2.get(f"{scanned.url}/storage/v1/object/b/x", headers=headers).status_code)
        return Reply(204)

    hook.replies = [scan]
    sent = await scanned.admin.post("/object/b/x", content=b"hello", headers={"content-type": "text/css"})
    assert sent.status_code == 200, sent.text
    assert seen == [b"hello", "InvalidSignature", 400]
    assert hook.rejected == []
    upload = hook.payloads[0]["upload"]
    assert hook.payloads[0]["type"] == "storage.upload"
    assert (upload["bucket_id"], upload["name"], upload["owner_id"]) == ("b", "x", None)
    assert (upload["metadata"]["size"], upload["metadata"]["mimetype"]) == (5, "text/css")
    assert (await scanned.admin.get("/object/b/x")).content == b"hello"


@pytest.mark.parametrize(
    ("reply", "status", "message"),
    [
        (json_reply({"error": {"message": "A virus: EICAR"}}, 422), 422, "A virus: EICAR"),
        (json_reply({"message": "No"}, 403), 422, "No"),
        (Reply(500, b"<html>"), 422, "The upload was refused"),
        (Reply(302, b"", {"location": "http://127.0.0.1:1/"}), 422, "The upload was refused"),
    ],
)
async def test_what_the_hook_refuses_leaves_nothing(
    scanned: Storage, scanner: tuple[Webhook, str], reply: Reply, status: int, message: str
) -> None:
    hook, _ = scanner
    await scanned.admin.post("/object/b/x", content=b"earlier")
    before = scanned.files()
    hook.replies = [reply]
    for answer in (
        await scanned.admin.put("/object/b/x", content=b"evil"),
        await scanned.admin.post("/object/b/y", content=b"evil"),
        await scanned.admin.post(
            "/object/copy", json={"bucketId": "b", "sourceKey": "x", "destinationKey": "z"}
        ),
    ):
        body = answer.json()
        assert (answer.status_code, body["code"], body["message"]) == (status, "UploadRefused", message)
    assert scanned.files() == before
    assert (await scanned.admin.get("/object/b/x")).content == b"earlier"
    assert (await scanned.admin.get("/object/b/y")).status_code == 400


async def test_a_hook_that_does_not_answer_refuses(scanned: Storage, scanner: tuple[Webhook, str]) -> None:
    hook, _ = scanner

    def too_late(payload: object) -> Reply:
        time.sleep(0.8)
        return Reply(200)

    hook.replies = [too_late]
    answer = await scanned.admin.post("/object/b/x", content=b"hello")
    assert (answer.status_code, answer.json()["code"]) == (503, "UploadRefused")
    assert scanned.files() == []


@pytest.mark.parametrize(
    ("uri", "secrets", "key"),
    [
        ("", SECRET, "upload_hook.uri"),
        ("pg-functions://postgres/public/f", SECRET, "upload_hook"),
        ("http://example.com/", SECRET, "upload_hook"),
        ("https://example.com/", "", "upload_hook"),
        ("https://example.com/", "short", "upload_hook"),
    ],
)
def test_a_hook_that_leads_nowhere_stops_the_start(tmp_path: Path, uri: str, secrets: str, key: str) -> None:
    environ = {
        "BASALT_STORAGE_UPLOAD_HOOK_ENABLED": "true",
        "BASALT_STORAGE_UPLOAD_HOOK_URI": uri,
        "BASALT_STORAGE_UPLOAD_HOOK_SECRETS": secrets,
    }
    with pytest.raises(ConfigError, match=f"basalt.storage.{key}"):
        load_settings(tmp_path, environ)


async def test_a_resumable_upload_that_is_refused_is_gone(
    scanned: Storage, scanner: tuple[Webhook, str]
) -> None:
    url = await half_uploaded(scanned)
    scanner[0].replies = [json_reply({"error": {"message": "a virus"}}, 403)]
    last = await scanned.admin.patch(url, headers={**BODY, "upload-offset": "2"}, content=b"llo")
    assert (last.status_code, last.text) == (422, "a virus")
    assert (await scanned.admin.head(url, headers=TUS)).status_code == 404
    assert scanned.files() == []


async def test_a_resumable_upload_waits_for_a_hook_that_does_not_answer(
    scanned: Storage, scanner: tuple[Webhook, str]
) -> None:
    url = await half_uploaded(scanned)

    def sleep(_: object) -> Reply:
        time.sleep(0.7)
        return Reply(204)

    scanner[0].replies = [sleep, Reply(204)]
    last = await scanned.admin.patch(url, headers={**BODY, "upload-offset": "2"}, content=b"llo")
    assert (last.status_code, last.text) == (503, "The upload hook did not answer")
    assert (await scanned.admin.get("/object/b/x")).status_code == 400
    again = await scanned.admin.head(url, headers=TUS)
    assert (again.status_code, again.headers["upload-offset"]) == (200, "5")
    assert (await scanned.admin.get("/object/b/x")).content == b"hello"


async def half_uploaded(scanned: Storage) -> str:
    """The URL of a resumable upload of five bytes, two of which are there."""
    headers = {**BODY, "upload-length": "5", "upload-metadata": metadata("b", "x")}
    made = await scanned.admin.post(BASE, headers=headers, content=b"he")
    assert made.status_code == 201, made.text
    return str(made.headers["location"])
