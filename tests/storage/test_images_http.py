"""`/render/image` over HTTP: who may see what, headers, conditions, and that no image is ever out of date."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import httpx2
import pytest

from basalt.config.storage_settings import ImageTransformationSettings, StorageServiceSettings
from basalt.http import Request
from basalt.storage.api import ROUTES
from basalt.storage.api.render import fetch_source
from basalt.storage.call import NOBODY, Call
from basalt.storage.errors import StorageError
from basalt.storage.names import new_version
from basalt.storage.objects import StoredObject
from basalt.storage.stores import DiskStore
from tests.server import Server
from tests.storage.conftest import MakeBucket, storage_client, token_of
from tests.storage.pictures import BLUE, RED, SVG, UPRIGHT, corners, kind_of, png_of_size, quartered, size_of

pytestmark = pytest.mark.req("P8")
INVALID = {
    "statusCode": "400",
    "error": "InvalidRequest",
    "message": "The source image is invalid or unsupported for rendering",
    "code": "InvalidRequest",
}


@pytest.fixture(scope="module")
def put(admin: httpx2.Client) -> Callable[..., str]:
    """`put(bucket, content)`: an object with these bytes; its path."""

    def upload(bucket: str, content: bytes, name: str = "a picture.png", **headers: str) -> str:
        sent = admin.post(
            f"/object/{bucket}/{name}",
            content=content,
            headers={
                "content-type": "image/png",
                "cache-control": "max-age=60",
                "x-upsert": "true",
                **{key.replace("_", "-"): value for key, value in headers.items()},
            },
        )
        assert sent.status_code == 200, sent.text
        return f"{bucket}/{name}"

    return upload


Put = Callable[..., str]


@pytest.fixture
def public(make_bucket: MakeBucket) -> str:
    return make_bucket(public=True)


def sign(admin: httpx2.Client, path: str, transform: dict[str, Any]) -> str:
    answer = admin.post(f"/object/sign/{path}", json={"expiresIn": 60, "transform": transform})
    assert answer.status_code == 200, answer.text
    url: str = answer.json()["signedURL"]
    return url


def test_a_public_image_is_transformed(anon: httpx2.Client, public: str, put: Put) -> None:
    path = put(public, quartered())
    got = anon.get(
        f"/render/image/public/{path}",
        params={"width": 10, "height": 20, "gravity": "fp", "x_offset": 0, "y_offset": 1, "quality": 60},
    )
    assert got.status_code == 200, got.text
    assert (size_of(got.content), corners(got.content)) == ((10, 20), (RED, RED, BLUE, BLUE))
    assert {name: got.headers.get(name) for name in EXPECTED} == EXPECTED
    assert got.headers["x-transformations"] == (
        "height:20,width:10,resizing_type:fill,quality:60,gravity:fp:0:1"
    )
    assert got.headers["etag"].startswith('"')
    assert got.headers["last-modified"].endswith("GMT")
    assert int(got.headers["content-length"]) == len(got.content)


EXPECTED = {
    "content-type": "image/png",
    "cache-control": "max-age=60",
    "x-robots-tag": "none",
    "x-content-type-options": "nosniff",
    "accept-ranges": "bytes",
    "vary": "Accept",
    "content-disposition": None,
}


def test_without_parameters_it_is_the_picture_in_its_own_format(
    anon: httpx2.Client, public: str, put: Put
) -> None:
    got = anon.get(f"/render/image/public/{put(public, quartered('JPEG'))}")
    assert (kind_of(got.content), size_of(got.content), corners(got.content)) == ("JPEG", (80, 40), UPRIGHT)
    assert got.headers["content-type"] == "image/jpeg"
    assert "x-transformations" not in got.headers


def test_a_client_that_reads_webp_is_sent_webp(anon: httpx2.Client, public: str, put: Put) -> None:
    url = f"/render/image/public/{put(public, quartered())}"
    accept = {"accept": "image/avif,image/webp,*/*"}
    negotiated = anon.get(url, headers=accept)
    assert (kind_of(negotiated.content), negotiated.headers["content-type"]) == ("WEBP", "image/webp")
    assert negotiated.headers["vary"] == "Accept"
    assert "x-transformations" not in negotiated.headers
    plain = anon.get(url)
    assert kind_of(plain.content) == "PNG"
    assert plain.headers["etag"] != negotiated.headers["etag"]
    origin = anon.get(url, params={"format": "origin"}, headers=accept)
    assert (kind_of(origin.content), origin.headers.get("vary")) == ("PNG", None)
    avif = anon.get(url, params={"format": "avif"}, headers=accept)
    assert (avif.headers["content-type"], avif.headers["x-transformations"]) == ("image/avif", "format:avif")


def test_an_image_that_the_client_has_is_not_sent_again(anon: httpx2.Client, public: str, put: Put) -> None:
    url = f"/render/image/public/{put(public, quartered())}?width=20"
    first = anon.get(url)
    again = anon.get(url, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["cache-control"] == "max-age=60"
    other = anon.get(f"{url}1", headers={"if-none-match": first.headers["etag"]})
    assert (other.status_code, size_of(other.content)) == (200, (80, 40))
    since = anon.get(url, headers={"if-modified-since": first.headers["last-modified"]})
    assert since.status_code == 304
    changed = anon.get(url, headers={"if-match": '"other"'})
    assert changed.json()["statusCode"] == "412"


def test_head_has_the_headers_of_get(anon: httpx2.Client, public: str, put: Put) -> None:
    url = f"/render/image/public/{put(public, quartered())}?width=20"
    head, got = anon.head(url), anon.get(url)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "etag", "x-transformations"):
        assert head.headers[name] == got.headers[name]
    assert anon.head(f"/render/image/public/{public}/none").status_code == 400


def test_a_download_has_its_name(anon: httpx2.Client, public: str, put: Put) -> None:
    url = f"/render/image/public/{put(public, quartered(), x_robots_tag='noindex')}"
    got = anon.get(f"{url}?width=20&download=na mé.png")
    assert got.headers["content-disposition"] == (
        "attachment; filename=na%20m%C3%A9.png; filename*=UTF-8''na%20m%C3%A9.png"
    )
    assert got.headers["x-robots-tag"] == "noindex"
    assert anon.get(f"{url}?download").headers["content-disposition"] == "attachment;"


def test_a_bad_parameter_is_named(anon: httpx2.Client, public: str, put: Put) -> None:
    url = f"/render/image/public/{put(public, quartered())}"
    for query, message in (
        ("quality=19", "querystring/quality must be >= 20"),
        ("width=-1", "querystring/width must be >= 0"),
        ("resize=crop", "querystring/resize must be equal to one of the allowed values"),
    ):
        refused = anon.get(f"{url}?{query}")
        assert refused.status_code == 400
        assert refused.json() == {
            "statusCode": "400",
            "error": "Error",
            "message": message,
            "code": "InvalidRequest",
        }


@pytest.mark.parametrize("content", [b"not an image", b"", quartered("JPEG", (800, 400))[:3000]])
@pytest.mark.parametrize("query", ["", "?width=20"])
def test_what_is_no_image_is_refused(
    anon: httpx2.Client, public: str, put: Put, content: bytes, query: str
) -> None:
    """Whatever type it declares."""
    refused = anon.get(f"/render/image/public/{put(public, content)}{query}")
    assert (refused.status_code, refused.json()) == (400, INVALID)


def test_a_bomb_is_refused(anon: httpx2.Client, public: str, put: Put) -> None:
    refused = anon.get(f"/render/image/public/{put(public, png_of_size(60_000, 60_000))}?width=20")
    assert (refused.status_code, refused.json()["code"]) == (400, "InvalidRequest")
    assert refused.json()["message"] == "The source image resolution is too large to process"


def test_an_image_is_shown_for_what_it_is(anon: httpx2.Client, public: str, put: Put) -> None:
    path = put(public, quartered("WEBP"), content_type="text/html")
    assert anon.get(f"/render/image/public/{path}").headers["content-type"] == "image/webp"


def test_drawings_are_passed_through(
    admin: httpx2.Client, anon: httpx2.Client, public: str, put: Put
) -> None:
    for content_type in ("image/svg+xml", "image/png"):
        path = put(public, SVG, content_type=content_type)
        for url in (f"/render/image/public/{path}?width=5", sign(admin, path, {"width": 5})):
            got = anon.get(url, headers={"accept": "image/webp"})
            assert (got.status_code, got.content) == (200, SVG)
            assert got.headers["content-type"] == "image/svg+xml"
            assert "sandbox" in got.headers["content-security-policy"]
            again = anon.get(url, headers={"accept": "image/webp", "if-none-match": got.headers["etag"]})
            assert again.status_code == 304


def test_a_private_image_needs_permission(
    depot: Server, admin: httpx2.Client, anon: httpx2.Client, make_bucket: MakeBucket, put: Put
) -> None:
    private, user = make_bucket("own"), str(uuid4())
    path = put(private, quartered(), name=f"{user}/a.png")
    seen = admin.get(f"/render/image/authenticated/{path}?width=20")
    assert size_of(seen.content) == (20, 10)
    bare = httpx2.get(f"{depot.url}/storage/v1/render/image/authenticated/{path}?width=20")
    assert bare.status_code == 400
    assert anon.get(f"/render/image/public/{path}?width=20").json()["code"] == "NoSuchBucket"
    assert anon.get(f"/render/image/authenticated/{path}?width=20").json()["code"] == "NoSuchKey"
    assert anon.get(f"/render/image/sign/{path}?width=20").json()["message"] == (
        "querystring must have required property 'token'"
    )
    with storage_client(depot, token_of(depot, user)) as ada, storage_client(depot, token_of(depot)) as eve:
        assert eve.get(f"/render/image/authenticated/{path}?width=20").json()["code"] == "NoSuchKey"
        assert size_of(ada.get(f"/render/image/authenticated/{path}?width=20").content) == (20, 10)


def test_policies_know_that_an_image_is_rendered(
    depot: Server, rows: Any, put: Put, make_bucket: MakeBucket
) -> None:
    """`storage.operation` tells pictures from downloads."""
    bucket = make_bucket("thumbs")
    path = put(bucket, quartered())
    rows.execute(
        "create policy thumbnails_only on storage.objects for select to authenticated using"
        f" (bucket_id = '{bucket}' and storage.operation() = 'storage.render.image_authenticated')"
    )
    try:
        with storage_client(depot, token_of(depot)) as client:
            assert client.get(f"/render/image/authenticated/{path}?width=20").status_code == 200
            assert client.get(f"/object/authenticated/{path}").json()["code"] == "NoSuchKey"
    finally:
        rows.execute("drop policy thumbnails_only on storage.objects")


def test_a_signed_url_says_what_is_done(
    admin: httpx2.Client, anon: httpx2.Client, make_bucket: MakeBucket, put: Put
) -> None:
    path = put(make_bucket(), quartered())
    url = sign(admin, path, {"width": 20, "height": 20, "resize": "contain"})
    assert url.startswith("/render/image/sign/")
    got = anon.get(f"{url}&width=40&format=avif&download=x.png", headers={"accept": "image/webp"})
    assert got.status_code == 200, got.text
    assert (kind_of(got.content), size_of(got.content)) == ("WEBP", (20, 10))
    assert got.headers["x-transformations"] == "height:20,width:20,resizing_type:fit"
    assert got.headers["content-disposition"].startswith("attachment; filename=x.png")
    assert got.headers["expires"].endswith("GMT")
    assert "cache-control" not in got.headers
    origin = anon.get(sign(admin, path, {"width": 20, "format": "origin"}), headers={"accept": "image/webp"})
    assert kind_of(origin.content) == "PNG"
    whole = anon.get(url.replace("/render/image/", "/object/"))
    assert whole.content == quartered()


def test_a_token_opens_its_own_image_only(
    admin: httpx2.Client, anon: httpx2.Client, make_bucket: MakeBucket, put: Put
) -> None:
    bucket = make_bucket()
    path, other = put(bucket, quartered()), put(bucket, quartered(), name="other.png")
    url = sign(admin, path, {"width": 20})
    assert anon.get(url.replace("a%20picture.png", "other.png")).json()["code"] == "InvalidSignature"
    upload = admin.post(f"/object/upload/sign/{other}", headers={"x-upsert": "true"}).json()["token"]
    refused = anon.get(f"/render/image/sign/{other}?token={upload}").json()
    assert refused["message"] == "Token is not scoped for download"
    assert anon.get(f"/render/image/sign/{other}?token=rubbish").json()["code"] == "InvalidJWT"


def test_a_bad_transform_is_refused_when_it_is_signed(
    admin: httpx2.Client, make_bucket: MakeBucket, put: Put
) -> None:
    path = put(make_bucket(), quartered())
    refused = admin.post(f"/object/sign/{path}", json={"expiresIn": 60, "transform": {"quality": 5}})
    assert (refused.status_code, refused.json()["message"]) == (400, "body/transform/quality must be >= 20")
    assert "/object/sign/" in sign(admin, path, {"format": "origin"})


def test_a_replaced_object_gives_the_new_image_and_a_deleted_one_none(
    admin: httpx2.Client, anon: httpx2.Client, public: str, put: Put
) -> None:
    path = put(public, quartered())
    url = f"/render/image/public/{path}?width=20"
    first = anon.get(url)
    assert size_of(first.content) == (20, 10)
    put(public, quartered(size=(40, 40)))
    second = anon.get(url, headers={"if-none-match": first.headers["etag"]})
    assert (second.status_code, size_of(second.content)) == (200, (20, 20))
    assert second.headers["cache-control"] == "max-age=60, stale-while-revalidate=30"
    admin.delete(f"/object/{path}").raise_for_status()
    assert anon.get(url).json()["code"] == "NoSuchKey"


def test_a_finished_image_is_on_the_disk(depot: Server, anon: httpx2.Client, public: str, put: Put) -> None:
    folder = depot.project_dir / ".basalt" / "images"
    url = f"/render/image/public/{put(public, quartered())}?width=33"
    before = set(folder.glob("*/*"))
    first = anon.get(url).content
    [entry] = set(folder.glob("*/*")) - before
    written_at = entry.stat().st_mtime_ns
    assert anon.get(url).content == first
    assert entry.stat().st_mtime_ns == written_at
    assert set(folder.glob("*/*")) - before == {entry}


async def test_a_source_that_is_in_no_file_is_read_from_its_store(tmp_path: Path) -> None:
    """One that comes at once and one that comes in pieces."""

    class Elsewhere(DiskStore):
        async def local_file(self, version: str) -> Path | None:
            return None

    async def chunks(content: bytes) -> AsyncIterator[bytes]:
        yield content

    store = Elsewhere(tmp_path)
    ctx: Any = SimpleNamespace(store=store)
    await store.open()
    try:
        for content in (b"small", bytes(3_000_000)):
            version = new_version()
            await store.put(version, chunks(content), limit=len(content))
            found = StoredObject("", "", "", version, None, {"size": len(content)}, {}, "", "")
            assert await fetch_source(ctx, found) == content
        with pytest.raises(StorageError, match="The resource was not found"):
            await fetch_source(ctx, replace(found, version=new_version()))
    finally:
        await store.close()


@pytest.mark.parametrize("kind", ["public", "authenticated", "sign"])
async def test_where_it_is_switched_off_there_is_no_such_route(kind: str) -> None:
    """Nothing else is looked at: neither the caller nor the database."""
    path = f"/render/image/{kind}/open/a.png"
    found = ROUTES.match("GET", path)
    assert found is not None
    route, segments = found
    service = StorageServiceSettings(image_transformation=ImageTransformationSettings(enabled=False))
    ctx: Any = SimpleNamespace(service=service)
    request = Request(method="GET", path=path, query_string=b"width=20", receive=cast(Any, None))
    answer = await route.handler(Call(ctx, request, NOBODY), **segments)
    assert answer.status == 404
    assert f"Route GET:{path}?width=20 not found" in cast(bytes, answer.body).decode()
