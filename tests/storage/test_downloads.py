"""Downloads over the JSON API: who may, ranges, preconditions, headers, and what is known about an object."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

import httpx2
import psycopg
import pytest

from tests.server import Server
from tests.storage.conftest import MakeBucket, storage_client, token_of

pytestmark = pytest.mark.req("P8")

MD5 = '"5eb63bbbe01eeed093cb22bb8f5acdc3"'


@pytest.fixture(scope="module")
def hello(admin: httpx2.Client, make_bucket: MakeBucket) -> str:
    """`public-…/hello.txt`, eleven bytes, in a public bucket that has no policies."""
    bucket = make_bucket("public", public=True)
    headers = {"content-type": "text/plain", "cache-control": "max-age=60"}
    admin.post(f"/object/{bucket}/hello.txt", content=b"hello world", headers=headers).raise_for_status()
    return f"{bucket}/hello.txt"


@pytest.fixture(scope="module")
def secret(admin: httpx2.Client, make_bucket: MakeBucket) -> str:
    bucket = make_bucket()
    admin.post(f"/object/{bucket}/secret.txt", content=b"secret").raise_for_status()
    return f"{bucket}/secret.txt"


def test_a_public_bucket_is_read_by_anyone(depot: Server, anon: httpx2.Client, hello: str) -> None:
    with httpx2.Client(base_url=f"{depot.url}/storage/v1") as nobody:
        assert nobody.get(f"/object/public/{hello}").content == b"hello world"
        assert nobody.get(f"/object/{hello}").content == b"hello world"
        refused = nobody.get(f"/object/authenticated/{hello}")
        assert refused.status_code == 400
        assert refused.json()["message"] == "headers must have required property 'authorization'"
    assert anon.get(f"/object/authenticated/{hello}").content == b"hello world"
    assert anon.get(f"/object/{hello}").content == b"hello world"


def test_a_private_bucket_is_read_by_whom_the_policies_let(
    depot: Server, anon: httpx2.Client, admin: httpx2.Client, secret: str
) -> None:
    with httpx2.Client(base_url=f"{depot.url}/storage/v1") as nobody:
        for path in (f"/object/public/{secret}", f"/object/{secret}", f"/object/info/public/{secret}"):
            assert nobody.get(path).json()["code"] == "NoSuchBucket"
            assert nobody.head(path).status_code == 400
    for path in (f"/object/authenticated/{secret}", f"/object/{secret}", f"/object/info/{secret}"):
        assert anon.get(path).json() == {
            "statusCode": "404",
            "error": "not_found",
            "message": "Object not found",
            "code": "NoSuchKey",
        }
    assert admin.get(f"/object/{secret}").content == b"secret"


def test_tokens_that_are_none(depot: Server, secret: str) -> None:
    for token, message in (
        ("", "Invalid Compact JWS"),
        ("rubbish", "Invalid Compact JWS"),
        ("a.b.c", "Invalid Compact JWS"),
        (token_of(depot)[:-3] + "abc", "signature verification failed"),
        (token_of(depot, exp=1), '"exp" claim timestamp check failed'),
    ):
        with httpx2.Client(base_url=f"{depot.url}/storage/v1") as client:
            header = f"Bearer {token}" if token else ""
            answer = client.get(f"/object/authenticated/{secret}", headers={"authorization": header})
        assert answer.status_code == 400
        body = answer.json()
        assert (body["statusCode"], body["code"], body["message"]) == ("403", "AccessDenied", message)


def test_the_headers_of_a_download(admin: httpx2.Client, hello: str) -> None:
    got = admin.get(f"/object/public/{hello}")
    head = admin.head(f"/object/public/{hello}")
    for answer in (got, head):
        assert answer.status_code == 200
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.headers["content-type"] == "text/plain"
        assert answer.headers["content-length"] == "11"
        assert answer.headers["etag"] == MD5
        assert answer.headers["cache-control"] == "max-age=60"
        assert answer.headers["x-robots-tag"] == "none"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert datetime.now(UTC) - parsedate_to_datetime(answer.headers["last-modified"]) < timedelta(
            minutes=5
        )
    assert head.content == b""


@pytest.mark.parametrize(
    ("asked", "given", "content"),
    [
        ("bytes=0-4", "bytes 0-4/11", b"hello"),
        ("bytes=6-", "bytes 6-10/11", b"world"),
        ("bytes=-5", "bytes 6-10/11", b"world"),
        ("bytes=-500", "bytes 0-10/11", b"hello world"),
        ("bytes=10-10", "bytes 10-10/11", b"d"),
        ("bytes=6-999", "bytes 6-10/11", b"world"),
    ],
)
def test_a_range_of_bytes(admin: httpx2.Client, hello: str, asked: str, given: str, content: bytes) -> None:
    got = admin.get(f"/object/{hello}", headers={"range": asked})
    assert (got.status_code, got.headers["content-range"], got.content) == (206, given, content)
    head = admin.head(f"/object/{hello}", headers={"range": asked})
    assert (head.status_code, head.headers["content-length"]) == (206, str(len(content)))


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=11-",
        "bytes=99-100",
        "bytes=5-4",
        "bytes=0-1,3-4",
        "bytes=a-b",
        "bytes=-",
        "bytes=-0",
        "lines=1-2",
    ],
)
def test_a_range_that_cannot_be_served(admin: httpx2.Client, hello: str, asked: str) -> None:
    got = admin.get(f"/object/{hello}", headers={"range": asked})
    assert got.status_code == 416
    assert got.json() == {
        "statusCode": "416",
        "error": "invalid_range",
        "message": "invalid range provided",
        "code": "InvalidRange",
    }
    assert got.headers["content-range"] == "bytes */11"


def test_what_a_client_has_is_not_sent_again(admin: httpx2.Client, hello: str) -> None:
    path = f"/object/public/{hello}"
    for tag in (MD5, f'"other", {MD5}', f"W/{MD5}", "*"):
        same = admin.get(path, headers={"if-none-match": tag})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", MD5)
    changed = admin.get(path, headers={"if-none-match": '"other"'})
    assert changed.status_code == 200
    assert changed.headers["cache-control"] == "max-age=60, stale-while-revalidate=30"
    modified = parsedate_to_datetime(admin.head(path).headers["last-modified"])
    for seconds, status in ((1, 304), (0, 304), (-1, 200)):
        since = format_datetime(modified + timedelta(seconds=seconds), usegmt=True)
        assert admin.get(path, headers={"if-modified-since": since}).status_code == status
    assert admin.get(path, headers={"if-modified-since": "once"}).status_code == 200


def test_a_precondition_that_fails(admin: httpx2.Client, hello: str) -> None:
    path = f"/object/public/{hello}"
    assert admin.get(path, headers={"if-match": MD5}).status_code == 200
    failed = admin.get(path, headers={"if-match": '"other"'})
    assert failed.json()["statusCode"] == "412"


def test_a_range_of_something_else_is_not_sent(admin: httpx2.Client, hello: str) -> None:
    path = f"/object/{hello}"
    part = {"range": "bytes=0-4"}
    assert admin.get(path, headers={**part, "if-range": MD5}).status_code == 206
    assert admin.get(path, headers={**part, "if-range": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("query", "disposition"),
    [
        ("?download", "attachment;"),
        ("?download=", "attachment;"),
        ("?download=x.txt", "attachment; filename=x.txt; filename*=UTF-8''x.txt"),
        (
            "?download=na%20m%C3%A9.txt",
            "attachment; filename=na%20m%C3%A9.txt; filename*=UTF-8''na%20m%C3%A9.txt",
        ),
        (
            "?download=a%0d%0ax%3A1%22",
            "attachment; filename=a%0D%0Ax%3A1%22; filename*=UTF-8''a%0D%0Ax%3A1%22",
        ),
    ],
)
def test_a_download_under_a_name(admin: httpx2.Client, hello: str, query: str, disposition: str) -> None:
    assert admin.get(f"/object/{hello}{query}").headers["content-disposition"] == disposition


@pytest.mark.parametrize(
    ("media_type", "served_as", "is_sandboxed"),
    [
        ("text/html", "text/plain", False),
        ("text/html; charset=utf-8", "text/plain", False),
        ("image/svg+xml", "image/svg+xml", True),
        ("application/xhtml+xml", "application/xhtml+xml", True),
        ("text/xml", "text/xml", True),
        ("image/png", "image/png", False),
    ],
)
def test_markup_gets_no_rights_on_our_address(
    admin: httpx2.Client, make_bucket: MakeBucket, media_type: str, served_as: str, is_sandboxed: bool
) -> None:
    bucket = make_bucket("public", public=True)
    admin.post(
        f"/object/{bucket}/x", content=b"<script>1</script>", headers={"content-type": media_type}
    ).raise_for_status()
    got = admin.get(f"/object/public/{bucket}/x")
    assert got.headers["content-type"] == served_as
    assert ("sandbox" in got.headers.get("content-security-policy", "")) is is_sandboxed


def test_what_is_known_about_an_object(admin: httpx2.Client, hello: str) -> None:
    for path in ("info", "info/authenticated", "info/public"):
        got = admin.get(f"/object/{path}/{hello}")
        assert got.status_code == 200
        assert (got.headers["etag"], got.headers["cache-control"]) == (MD5, "max-age=60")
        info = got.json()
        bucket, _, name = hello.partition("/")
        assert (info["name"], info["bucket_id"], info["size"], info["metadata"]) == (name, bucket, 11, {})
        assert (info["content_type"], info["cache_control"], info["etag"]) == (
            "text/plain",
            "max-age=60",
            MD5,
        )
        assert info["last_modified"][-1] == info["created_at"][-1] == "Z"
        assert admin.head(f"/object/{path}/{hello}").status_code == 200
    assert admin.head("/object/info/nosuch/x").status_code == 400


def test_a_row_without_bytes_is_told_apart(
    admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket()
    rows.execute(
        "insert into storage.objects (bucket_id, name, version, metadata)"
        " values (%s, 'no-bytes', gen_random_uuid()::text, '{\"size\": 3}'),"
        " (%s, 'no-version', null, '{\"size\": 3}'), (%s, 'a-path', '../../../../../etc/passwd', '{\"size\": 3}')",
        [bucket, bucket, bucket],
    )
    for name in ("no-bytes", "no-version", "a-path"):
        got = admin.get(f"/object/{bucket}/{name}")
        assert got.status_code == 400
        assert got.json() == {
            "statusCode": "404",
            "error": "Not found",
            "message": "The resource was not found",
            "code": "NoSuchKey",
        }


def test_a_large_object_comes_back_whole_and_in_pieces(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    whole = bytes(range(251)) * 20_000
    admin.post(f"/object/{bucket}/x", content=whole).raise_for_status()
    assert admin.get(f"/object/{bucket}/x").content == whole
    part = admin.get(f"/object/{bucket}/x", headers={"range": "bytes=1000003-3999999"})
    assert part.content == whole[1_000_003:4_000_000]


def test_a_client_that_leaves_in_the_middle_costs_no_descriptor(
    depot: Server, admin: httpx2.Client, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket()
    admin.post(f"/object/{bucket}/x", content=b"x" * 8_000_000).raise_for_status()
    for _ in range(5):
        with (
            storage_client(depot, depot.service_role_key) as leaving,
            leaving.stream("GET", f"/object/{bucket}/x") as got,
        ):
            next(got.iter_raw())
    assert admin.get(f"/object/{bucket}/x").status_code == 200


def test_unknown_routes_are_told(admin: httpx2.Client) -> None:
    got = admin.get("/nosuch?a=b")
    assert got.status_code == 404
    assert got.json() == {
        "message": "Route GET:/nosuch?a=b not found",
        "error": "Not Found",
        "statusCode": 404,
    }
    assert admin.patch("/bucket").status_code == 404


def test_status_and_version_are_open(depot: Server, anon: httpx2.Client, admin: httpx2.Client) -> None:
    with httpx2.Client(base_url=f"{depot.url}/storage/v1") as nobody:
        assert (nobody.get("/status").status_code, nobody.get("/status").content) == (200, b"")
        assert nobody.get("/version").text
    assert admin.get("/health").json() == {"healthy": True}
    assert anon.get("/health").status_code == 403
    assert admin.delete("/cdn/b/x").json() == {"message": "success"}
    assert anon.delete("/cdn").status_code == 403
