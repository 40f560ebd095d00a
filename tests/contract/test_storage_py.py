"""Storage through unmodified supabase-py, sync and async: every public method of its storage client."""

import inspect
import time
import warnings
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import jwt
import pytest
import pytest_asyncio
from PIL import Image
from storage3 import SyncStorageClient
from storage3.exceptions import StorageApiError
from storage3.types import CreateSignedUploadUrlOptions
from supabase import AsyncClientOptions, ClientOptions, acreate_client, create_client

from tests.server import Server

pytestmark = [
    pytest.mark.req("P8"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
USER = "44444444-4444-4444-8444-444444444444"
TEXT = {"content-type": "text/plain", "cache-control": "60"}

# Analytics and vector buckets are services of their own that Basalt does not have.
LEFT_OUT = {"analytics", "vectors"}

Connect = Callable[..., Any]


@pytest_asyncio.fixture(params=["sync", "async"])
async def connect(request: pytest.FixtureRequest, depot: Server) -> AsyncIterator[Connect]:
    """`await connect(key, user_id)`: a storage client of either kind; closed at the end."""
    opened: list[Any] = []

    async def make(key: str | None = None, user_id: str | None = None) -> Any:
        key = key or depot.anon_key
        headers = {} if user_id is None else {"Authorization": f"Bearer {token(depot, user_id)}"}
        if request.param == "sync":
            opened.append(create_client(depot.url, key, ClientOptions(headers=headers)))
        else:
            opened.append(await acreate_client(depot.url, key, AsyncClientOptions(headers=headers)))
        return opened[-1].storage

    yield make
    for client in opened:
        session = client.storage.session
        await done(session.close() if request.param == "sync" else session.aclose())


def token(server: Server, user_id: str) -> str:
    claims = {"sub": user_id, "role": "authenticated", "exp": time.time() + 3600}
    return jwt.encode(claims, server.jwt_secret, algorithm="HS256")


async def done(result: Any) -> Any:
    """What a method of either kind of client gives."""
    return await result if inspect.isawaitable(result) else result


async def refused(result: Callable[[], Any]) -> tuple[str, int | str]:
    """The label and the status of an error."""
    with pytest.raises(StorageApiError) as caught:
        await done(result())
    return caught.value.code, caught.value.status


def fetch(url: str) -> httpx2.Response:
    return httpx2.get(url)


def a_name(kind: str) -> str:
    return f"{kind}-{uuid4().hex[:8]}"


async def test_buckets_live_and_die(depot: Server, connect: Connect) -> None:
    storage = await connect(depot.service_role_key)
    name = a_name("private")
    made = await done(
        storage.create_bucket(
            name, options={"public": True, "file_size_limit": 1000, "allowed_mime_types": ["text/*"]}
        )
    )
    assert made == {"name": name}
    assert await refused(lambda: storage.create_bucket(name)) == ("Duplicate", "409")
    bucket = await done(storage.get_bucket(name))
    assert (bucket.id, bucket.name, bucket.owner, bucket.public) == (name, name, "", True)
    assert (bucket.file_size_limit, bucket.allowed_mime_types) == (1000, ["text/*"])
    assert await done(storage.update_bucket(name, {"public": False})) == {"message": "Successfully updated"}
    bucket = await done(storage.get_bucket(name))
    assert (bucket.public, bucket.file_size_limit) == (False, 1000)
    listed = {found.id: found for found in await done(storage.list_buckets())}
    assert listed[name].type == "STANDARD"

    files = storage.from_(name)
    await done(files.upload("a.txt", b"hello", TEXT))
    assert await refused(lambda: files.upload("b.txt", b"x" * 1001, TEXT)) == ("Payload too large", "413")
    assert await refused(lambda: files.upload("c.png", b"x", {"content-type": "image/png"})) == (
        "invalid_mime_type",
        "415",
    )
    assert await refused(lambda: storage.delete_bucket(name)) == ("ResourceNotEmpty", "409")
    assert "message" in await done(storage.empty_bucket(name))
    assert await done(storage.delete_bucket(name)) == {"message": "Successfully deleted"}
    assert await refused(lambda: storage.get_bucket(name)) == ("Bucket not found", "404")

    stranger = await connect()
    assert await refused(lambda: stranger.create_bucket(a_name("private"))) == ("Unauthorized", "403")
    assert [found for found in await done(stranger.list_buckets()) if found.id.startswith("private")] == []


async def a_bucket(depot: Server, connect: Connect, kind: str, **options: Any) -> str:
    storage = await connect(depot.service_role_key)
    name = a_name(kind)
    await done(storage.create_bucket(name, options=options))
    return name


async def test_a_user_keeps_files(depot: Server, connect: Connect, tmp_path: Path) -> None:
    bucket = await a_bucket(depot, connect, "own")
    files = (await connect(user_id=USER)).from_(bucket)
    sent = await done(files.upload(f"{USER}/a.txt", b"hello", {**TEXT, "metadata": {"mood": "good"}}))
    assert (sent.path, sent.full_path, sent.fullPath) == (f"{USER}/a.txt", *[f"{bucket}/{USER}/a.txt"] * 2)
    assert await done(files.download(f"{USER}/a.txt")) == b"hello"
    info = await done(files.info(f"{USER}/a.txt"))
    assert (info["name"], info["size"], info["content_type"]) == (f"{USER}/a.txt", 5, "text/plain")
    assert (info["cache_control"], info["metadata"]) == ("max-age=60", {"mood": "good"})
    assert await done(files.exists(f"{USER}/a.txt")) is True
    assert await done(files.exists(f"{USER}/b.txt")) is False

    assert await refused(lambda: files.upload(f"{USER}/a.txt", b"again", TEXT)) == ("Duplicate", "409")
    local = tmp_path / "local.txt"
    local.write_bytes(b"from a file")
    await done(files.upload(f"{USER}/a.txt", local, {**TEXT, "upsert": "true"}))
    assert await done(files.download(f"{USER}/a.txt")) == b"from a file"
    with local.open("rb") as opened:
        await done(files.update(f"{USER}/a.txt", opened, TEXT))
    await done(files.update(f"{USER}/plain", b"default type"))
    assert (await done(files.info(f"{USER}/plain")))["content_type"] == "text/plain"

    assert await done(files.copy(f"{USER}/a.txt", f"{USER}/sub/b.txt"))
    moved = await done(files.move(f"{USER}/a.txt", f"{USER}/c.txt"))
    assert moved == {"message": "Successfully moved"}
    assert await refused(lambda: files.move(f"{USER}/a.txt", f"{USER}/d.txt")) == ("not_found", "404")
    assert await done(files.exists(f"{USER}/a.txt")) is False

    gone = await done(files.remove([f"{USER}/c.txt", f"{USER}/nothing.txt"]))
    assert [row["name"] for row in gone] == [f"{USER}/c.txt"]
    assert await refused(lambda: files.upload("elsewhere.txt", b"x", TEXT)) == ("Unauthorized", "403")
    with pytest.raises(ValueError, match="dot segments"):
        await done(files.download("a/../b"))

    stranger = (await connect()).from_(bucket)
    assert await refused(lambda: stranger.download(f"{USER}/plain")) == ("not_found", "404")
    assert await done(stranger.remove([f"{USER}/plain"])) == []
    assert await done(stranger.list(USER)) == []


async def test_files_are_listed(depot: Server, connect: Connect) -> None:
    bucket = await a_bucket(depot, connect, "open")
    files = (await connect()).from_(bucket)
    for name in ("dir/b.txt", "dir/a.txt", "dir/sub/c.txt", "top.txt"):
        await done(files.upload(name, b"hello", TEXT))
    assert [entry["name"] for entry in await done(files.list())] == ["dir", "top.txt"]
    folder, entry = await done(files.list(None, {"search": "", "limit": 2}))
    assert (folder["id"], entry["metadata"]["size"]) == (None, 5)
    assert [entry["name"] for entry in await done(files.list("dir"))] == ["a.txt", "b.txt", "sub"]
    by_time = {"sortBy": {"column": "created_at", "order": "desc"}, "limit": 2, "offset": 1}
    assert [entry["name"] for entry in await done(files.list("dir", by_time))] == ["a.txt", "b.txt"]
    assert [entry["name"] for entry in await done(files.list("dir", {"search": "A"}))] == ["a.txt"]

    everything = await done(files.list_v2())
    assert [found.name for found in everything.objects] == [
        "dir/a.txt",
        "dir/b.txt",
        "dir/sub/c.txt",
        "top.txt",
    ]
    assert (everything.hasNext, everything.nextCursor, everything.folders) == (False, None, [])
    options = {"prefix": "dir/", "with_delimiter": True, "limit": 2}
    page = await done(files.list_v2(options))
    assert (page.hasNext, [found.key for found in page.objects]) == (True, ["a.txt", "b.txt"])
    page = await done(files.list_v2({**options, "cursor": page.nextCursor}))
    assert (page.hasNext, page.objects, [found.name for found in page.folders]) == (False, [], ["dir/sub/"])
    newest = await done(files.list_v2({"sortBy": {"column": "updated_at", "order": "desc"}, "limit": 1}))
    assert [found.name for found in newest.objects] == ["top.txt"]


async def test_files_are_shared_by_urls(depot: Server, connect: Connect) -> None:
    bucket = await a_bucket(depot, connect, "open", public=True)
    files = (await connect()).from_(bucket)
    await done(files.upload("dir/a b.txt", b"hello", TEXT))
    signed = await done(files.create_signed_url("dir/a b.txt", 60))
    assert signed["signedURL"] == signed["signedUrl"]
    assert fetch(signed["signedURL"]).content == b"hello"
    named = await done(files.create_signed_url("dir/a b.txt", 60, {"download": "my file.txt"}))
    assert "my%20file.txt" in fetch(named["signedURL"]).headers["content-disposition"]
    assert await refused(lambda: files.create_signed_url("nothing", 60)) == ("not_found", "404")
    found, missing = await done(files.create_signed_urls(["dir/a b.txt", "nothing"], 60, {"download": True}))
    assert (found["error"], missing["signedURL"]) == (None, None)
    assert missing["error"] == "Either the object does not exist or you do not have access to it"
    assert fetch(found["signedURL"]).headers["content-disposition"].startswith("attachment")

    public = await done(files.get_public_url("dir/a b.txt"))
    assert fetch(public).content == b"hello"
    named = await done(files.get_public_url("dir/a b.txt", {"download": "x.txt"}))
    assert "x.txt" in fetch(named).headers["content-disposition"]


async def test_files_are_uploaded_by_urls(depot: Server, connect: Connect, tmp_path: Path) -> None:
    bucket = await a_bucket(depot, connect, "own")
    files = (await connect(user_id=USER)).from_(bucket)
    stranger = (await connect()).from_(bucket)
    path = f"{USER}/gift.txt"
    url = await done(files.create_signed_upload_url(path))
    assert (url["path"], url["signed_url"]) == (path, url["signedUrl"])
    sent = await done(
        stranger.upload_to_signed_url(path, url["token"], b"gift", {**TEXT, "metadata": {"a": 1}})
    )
    assert sent.full_path == f"{bucket}/{path}"
    assert await done(files.download(path)) == b"gift"
    again = stranger.upload_to_signed_url
    assert await refused(lambda: again(path, url["token"], b"more", TEXT)) == ("Duplicate", "409")
    url = await done(files.create_signed_upload_url(path, CreateSignedUploadUrlOptions(upsert="true")))
    local = tmp_path / "local.txt"
    local.write_bytes(b"larger gift")
    await done(again(path, url["token"], local))
    assert await done(files.download(path)) == b"larger gift"
    assert await refused(lambda: again(path, "no token", b"x")) == ("InvalidJWT", "400")
    assert await refused(lambda: stranger.create_signed_upload_url(path)) == ("Unauthorized", "403")


async def test_pictures_are_transformed(depot: Server, connect: Connect) -> None:
    bucket = await a_bucket(depot, connect, "open", public=True)
    files = (await connect()).from_(bucket)
    picture = BytesIO()
    Image.new("RGB", (80, 40), "red").save(picture, "PNG")
    await done(files.upload("red.png", picture.getvalue(), {"content-type": "image/png"}))
    box = {"transform": {"width": 20, "height": 20, "format": "origin"}}

    def size(content: bytes) -> tuple[int, int]:
        with Image.open(BytesIO(content)) as image:
            return image.size

    assert size(await done(files.download("red.png", box))) == (20, 20)
    assert size(fetch(await done(files.get_public_url("red.png", box))).content) == (20, 20)
    signed = await done(files.create_signed_url("red.png", 60, box))
    assert size(fetch(signed["signedURL"]).content) == (20, 20)


def test_no_method_of_the_client_is_left_out() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage = SyncStorageClient("http://localhost/", {})
        kinds = (type(storage), type(storage.from_("bucket")))
        storage.session.close()
    public = {
        name
        for kind in kinds
        for name, _ in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }
    assert len(public) > 20
    source = Path(__file__).read_text("utf-8")
    unused = {name for name in public if f".{name}(" not in source and name != "upload_to_signed_url"}
    assert unused == LEFT_OUT
