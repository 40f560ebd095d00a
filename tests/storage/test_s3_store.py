"""What only a store elsewhere can do wrong: keys, outages, sizes that one request does not take."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import httpx2
import pytest

from basalt.config import ObjectStoreSettings
from basalt.errors import BasaltError
from basalt.storage.names import new_version
from basalt.storage.stores import S3Store, StoreFullError, StoreUnavailableError
from tests.ports import free_port
from tests.server import Server
from tests.storage.conftest import MakeBucket
from tests.storage.contents import content_of, pieces
from tests.storage.engines import ObjectStore, wait_for

pytestmark = pytest.mark.req("P8")

MIB = 1024 * 1024
LIMIT = 1 << 30


@contextmanager
def answering(status: int, code: str) -> Iterator[ObjectStoreSettings]:
    """A store that answers everything with one error."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield settings_for(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


def settings_for(endpoint: str) -> ObjectStoreSettings:
    return ObjectStoreSettings(
        endpoint=endpoint, bucket="bucket", access_key_id="key", secret_access_key="secret"
    )


async def test_a_bucket_that_is_not_there_is_told_in_a_sentence(object_store: ObjectStore) -> None:
    with pytest.raises(BasaltError, match=r"The bucket other of http.* there is no such bucket"):
        await S3Store(object_store.settings(bucket="other")).open()


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (403, "InvalidAccessKeyId", "it does not accept the access key"),
        (403, "SignatureDoesNotMatch", "it does not accept the access key"),
        (401, "Unauthorized", "it does not accept the access key"),
        (301, "PermanentRedirect", "the bucket is in another region"),
        (400, "Odd", "it answered with an error"),
    ],
)
async def test_a_store_that_refuses_is_told_in_a_sentence(status: int, code: str, sentence: str) -> None:
    with answering(status, code) as settings:
        with pytest.raises(BasaltError, match=sentence) as caught:
            await S3Store(settings).open()
        assert caught.value.code == "object_store_unusable"
        assert "secret" not in str(caught.value)


async def test_a_store_that_cannot_be_reached_is_told_in_a_sentence() -> None:
    with pytest.raises(BasaltError, match="it cannot be reached"):
        await S3Store(settings_for(f"http://127.0.0.1:{free_port()}")).open()


async def test_what_the_store_refuses_at_work_is_an_outage() -> None:
    with answering(403, "AccessDenied") as settings:
        store = S3Store(settings)
        for attempt in (
            store.put(new_version(), pieces(b"x"), limit=1),
            store.put(new_version(), pieces(*[b"x" * MIB] * 10), limit=LIMIT),
            store.read(new_version(), 0, 1),
            store.copy(new_version(), new_version()),
            store.delete([new_version()]),
            store.list_parts(new_version()),
        ):
            with pytest.raises(StoreUnavailableError):
                await attempt


async def test_a_store_without_space_is_full() -> None:
    with answering(400, "QuotaExceeded") as settings:
        for chunks in (pieces(b"x"), pieces(*[b"x" * MIB] * 10)):
            with pytest.raises(StoreFullError):
                await S3Store(settings).put(new_version(), chunks, limit=LIMIT)


async def test_plain_http_is_for_http_endpoints_only() -> None:
    """An https endpoint must not be followed to http."""
    store = S3Store(settings_for(f"https://127.0.0.1:{free_port()}"))
    assert store._client.client_options == {**(store._client.client_options or {}), "allow_http": "false"}


async def test_what_one_request_does_not_copy_passes_through(object_store: ObjectStore) -> None:
    prefix = f"{uuid4()}/"
    store = S3Store(object_store.settings(prefix), most_copied_bytes=MIB)
    source, target, data = new_version(), new_version(), os.urandom(9 * MIB + 1)
    await store.put(source, pieces(data), limit=LIMIT)
    await store.copy(source, target)
    upload, assembled = new_version(), new_version()
    part = await store.put_part(upload, 1, pieces(*[data[:MIB]] * 9), limit=LIMIT)
    await store.assemble(upload, [part], assembled)
    await store.discard_upload(upload)
    await store.delete([source])
    digest = hashlib.md5(await content_of(store, target, 0, len(data))).hexdigest()
    assert digest == hashlib.md5(data).hexdigest()
    assert object_store.names(prefix) == {f"objects/{target}", f"objects/{assembled}"}


async def test_the_store_itself_hands_out_bytes_for_a_while(object_store: ObjectStore) -> None:
    store, version = S3Store(object_store.settings(f"{uuid4()}/")), new_version()
    await store.put(version, pieces(b"hello"), limit=5)
    url = await store.presign(version, expires_s=60)
    assert url is not None
    assert url.startswith(object_store.endpoint)
    assert "X-Amz-Expires=60" in url
    assert httpx2.get(url).content == b"hello"
    assert await store.local_file(version) is None


async def test_what_unfinished_writes_left_goes_with_its_age(object_store: ObjectStore) -> None:
    prefix = f"{uuid4()}/"
    store, client = S3Store(object_store.settings(prefix)), object_store.client()
    client.put_object(Bucket="basalt-tests", Key=f"{prefix}incoming/half", Body=b"half")
    client.put_object(Bucket="basalt-tests", Key=f"{prefix}objects/notes.txt", Body=b"x")
    client.close()
    await store.discard_unfinished(3600)
    assert "incoming/half" in object_store.names(prefix)
    await store.discard_unfinished(-2)
    assert object_store.names(prefix) == {"objects/notes.txt"}
    assert [found async for page in store.list_older(-2) for found in page] == []


async def test_projects_share_a_bucket_by_their_prefixes(object_store: ObjectStore) -> None:
    name = str(uuid4())
    one, other = (S3Store(object_store.settings(prefix)) for prefix in (f"{name}/", f"{name}-other/"))
    version = new_version()
    await one.put(version, pieces(b"x"), limit=1)
    assert [found async for page in other.list_older(-2) for found in page] == []
    await other.delete([version])
    assert await content_of(one, version, 0, 1) == b"x"


@contextmanager
def gateway_over(server: Server, object_store: ObjectStore) -> Iterator[httpx2.Client]:
    """A further gateway of a running project, with its bytes in the object store."""
    settings = object_store.settings(f"{uuid4()}/")
    port = free_port()
    environ = {
        **server.environ,
        "SUPABASE_API_PORT": str(port),
        "BASALT_STORAGE_BACKEND": "s3",
        "BASALT_STORAGE_S3_ENDPOINT": object_store.endpoint,
        "BASALT_STORAGE_S3_BUCKET": settings.bucket or "",
        "BASALT_STORAGE_S3_PREFIX": settings.prefix,
        "BASALT_STORAGE_S3_ACCESS_KEY_ID": settings.access_key_id or "",
        "BASALT_STORAGE_S3_SECRET_ACCESS_KEY": settings.secret_access_key or "",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "basalt.gateway", str(server.project_dir)],
        env=environ,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    client = httpx2.Client(
        base_url=f"http://127.0.0.1:{port}/storage/v1",
        headers={"authorization": f"Bearer {server.service_role_key}"},
        timeout=60,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait()


def test_a_project_keeps_its_objects_in_the_store(
    depot: Server, object_store: ObjectStore, make_bucket: MakeBucket
) -> None:
    bucket, data = make_bucket(), os.urandom(9 * MIB)
    with gateway_over(depot, object_store) as storage:
        for name, content in (("large", data), ("small", b"small"), ("none", b"")):
            storage.post(f"/object/{bucket}/{name}", content=content).raise_for_status()
            got = storage.get(f"/object/{bucket}/{name}")
            assert got.content == content
            assert got.headers["etag"] == f'"{hashlib.md5(content).hexdigest()}"'
        part = storage.get(f"/object/{bucket}/large", headers={"range": "bytes=5000000-5000099"})
        assert (part.status_code, part.content) == (206, data[5_000_000:5_000_100])

        move = {"bucketId": bucket, "sourceKey": "large", "destinationKey": "moved"}
        storage.post("/object/move", json=move).raise_for_status()
        copy = {"bucketId": bucket, "sourceKey": "small", "destinationKey": "copied"}
        storage.post("/object/copy", json=copy).raise_for_status()
        storage.put(f"/object/{bucket}/small", content=b"other").raise_for_status()
        storage.request("DELETE", f"/object/{bucket}", json={"prefixes": ["none"]}).raise_for_status()
        assert storage.get(f"/object/{bucket}/moved").content == data
        assert storage.get(f"/object/{bucket}/copied").content == b"small"
        assert storage.get(f"/object/{bucket}/small").content == b"other"
        missing = storage.get(f"/object/{bucket}/none")
        assert (missing.status_code, missing.json()["code"]) == (400, "NoSuchKey")
