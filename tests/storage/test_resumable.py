"""Resumable uploads: the protocol itself (tus.io/protocols/resumable-upload, 1.0.0)."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from uuid import uuid4

import httpx2
import psycopg
import pytest

from basalt.config import load_settings
from basalt.postgres import LanePool, load_access
from basalt.storage.back_ends import storage_folder
from basalt.storage.database import StorageDatabase
from basalt.storage.resumable.expiry import expire_uploads
from basalt.storage.stores import DiskStore
from tests.server import Server
from tests.storage.conftest import MakeBucket, stored_files, unfinished_files
from tests.storage.tus import (
    BASE,
    BODY,
    TUS,
    append,
    arrived,
    begin,
    create,
    encode,
    fetch,
    metadata,
    offset_of,
    upload_id,
)

pytestmark = [pytest.mark.req("P8"), pytest.mark.usefixtures("without_uploads")]

EXTENSIONS = "creation,creation-with-upload,creation-defer-length,termination,expiration"


def test_what_is_offered_is_told_to_anybody(depot: Server) -> None:
    for path in (BASE, f"{BASE}/sign", f"{BASE}/{uuid4()}"):
        answer = httpx2.options(f"{depot.url}/storage/v1{path}")
        assert answer.status_code == 204
        assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
        assert answer.headers["tus-extension"] == EXTENSIONS
        assert answer.headers["tus-max-size"] == str(20 * 1024 * 1024)


def test_an_upload_in_pieces_becomes_one_object(
    admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection, depot: Server
) -> None:
    before = unfinished_files(depot)
    bucket = make_bucket()
    told = {"contentType": "text/plain", "cacheControl": "60", "metadata": '{"a": "b"}', "filename": "x"}
    described = metadata(bucket, "dir/a.txt", **told)
    url = begin(admin, bucket, "dir/a.txt", 11, upload_metadata=described)
    assert url.startswith(f"{depot.url}/storage/v1/upload/resumable/")

    first = append(admin, url, 0, b"hello ")
    assert (first.status_code, first.headers["upload-offset"]) == (204, "6")
    assert "tus-complete" not in first.headers
    assert parsedate_to_datetime(first.headers["upload-expires"]).tzinfo is not None
    assert admin.get(f"/object/authenticated/{bucket}/dir/a.txt").status_code == 400
    seen = admin.head(url, headers=TUS)
    assert seen.status_code == 200
    assert {
        "upload-offset": "6",
        "upload-length": "11",
        "upload-metadata": described,
        "cache-control": "no-store",
        "tus-resumable": "1.0.0",
    }.items() <= dict(seen.headers).items()

    last = append(admin, url, 6, b"world")
    assert (last.status_code, last.headers["upload-offset"], last.headers["tus-complete"]) == (204, "11", "1")
    got = admin.get(f"/object/authenticated/{bucket}/dir/a.txt")
    assert (got.content, got.headers["content-type"], got.headers["cache-control"]) == (
        b"hello world",
        "text/plain",
        "max-age=60",
    )
    [(version, known, user_metadata)] = rows.execute(
        "select version, metadata, user_metadata from storage.objects where bucket_id = %s", [bucket]
    ).fetchall()
    assert (known["size"], known["mimetype"], user_metadata) == (11, "text/plain", {"a": "b"})
    assert version in stored_files(depot)
    assert offset_of(admin, url) == 11
    assert unfinished_files(depot) == before


def test_the_first_bytes_may_come_with_the_creation(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    headers = {**BODY, "upload-length": "11", "upload-metadata": metadata(bucket, "whole.txt")}
    made = admin.post(BASE, headers=headers, content=b"hello world")
    assert (made.status_code, made.headers["upload-offset"], made.headers["tus-complete"]) == (201, "11", "1")
    assert fetch(admin, bucket, "whole.txt") == b"hello world"

    headers["upload-metadata"] = metadata(bucket, "half.txt")
    made = admin.post(BASE, headers=headers, content=b"hello ")
    assert (made.status_code, made.headers["upload-offset"]) == (201, "6")
    assert append(admin, made.headers["location"], 6, b"world").headers["tus-complete"] == "1"
    assert fetch(admin, bucket, "half.txt") == b"hello world"


def test_the_length_may_be_told_later(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    url = begin(admin, bucket, "late.txt", None)
    assert append(admin, url, 0, b"hello ").status_code == 204
    seen = admin.head(url, headers=TUS).headers
    assert (seen["upload-offset"], seen["upload-defer-length"]) == ("6", "1")
    assert "upload-length" not in seen
    assert append(admin, url, 6, upload_length="5").status_code == 413
    last = append(admin, url, 6, b"world", upload_length="11")
    assert last.headers["tus-complete"] == "1"
    assert fetch(admin, bucket, "late.txt") == b"hello world"

    other = begin(admin, bucket, "other.txt", None)
    assert append(admin, other, 0, b"hello", upload_length="11").status_code == 204
    changed = append(admin, other, 5, b"", upload_length="12")
    assert (changed.status_code, changed.text) == (400, "Upload-Length cannot change")
    assert append(admin, other, 5, b" world").headers["tus-complete"] == "1"


def test_what_is_empty_is_finished_at_once(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    made = create(admin, bucket, "empty.txt", 0)
    assert (made.status_code, made.headers["tus-complete"]) == (201, "1")
    assert fetch(admin, bucket, "empty.txt") == b""
    assert offset_of(admin, made.headers["location"]) == 0


# Keys and values of `Upload-Metadata`, or the header as it is.
Changes = dict[str, str | dict[str, str] | None]

REFUSED_CREATIONS: dict[str, tuple[Changes, int, str]] = {
    "no version": ({"tus-resumable": None}, 412, "Tus-Resumable Required"),
    "another version": ({"tus-resumable": "0.2.2"}, 412, "Tus-Resumable Required"),
    "no length": ({"upload-length": None}, 400, "Upload-Length or Upload-Defer-Length header required"),
    "two lengths": (
        {"upload-defer-length": "1"},
        400,
        "Upload-Length or Upload-Defer-Length header required",
    ),
    "a negative length": ({"upload-length": "-1"}, 400, "Invalid upload-length"),
    "no number": ({"upload-length": "ten"}, 400, "Invalid upload-length"),
    "a fraction": ({"upload-length": "1.5"}, 400, "Invalid upload-length"),
    "digits of elsewhere": ({"upload-length": "\u00b2"}, 400, "Invalid upload-length"),
    "a huge number": ({"upload-length": "9" * 5000}, 400, "Invalid upload-length"),
    "more than the server takes": ({"upload-length": "20971521"}, 413, "Maximum size exceeded"),
    "a wrong deferral": (
        {"upload-length": None, "upload-defer-length": "2"},
        400,
        "Invalid upload-defer-length",
    ),
    "concatenation": ({"upload-concat": "partial"}, 400, "The concatenation extension is not offered"),
    "no metadata": ({"upload-metadata": None}, 400, "Metadata header is required"),
    "no Base64": ({"upload-metadata": "name !!"}, 400, "Upload-Metadata is invalid: the value of name"),
    "no key": (
        {"upload-metadata": "name YQ==,, b"},
        400,
        "Upload-Metadata is invalid: each pair needs a key",
    ),
    "a key twice": (
        {"upload-metadata": "a YQ==,a YQ=="},
        400,
        "Upload-Metadata is invalid: the key a is there",
    ),
    "no bucket": ({"upload-metadata": {"objectName": "a.txt"}}, 404, "Bucket not found"),
    "an unknown bucket": (
        {"upload-metadata": {"bucketName": "nosuch", "objectName": "a.txt"}},
        404,
        "Bucket not found",
    ),
    "a bucket up to a NUL": (
        {"upload-metadata": {"bucketName": "BUCKET\0x", "objectName": "a.txt"}},
        404,
        "Bucket not found",
    ),
    "no object": ({"upload-metadata": {"bucketName": "BUCKET"}}, 400, "Invalid key: "),
    "no media type": (
        {"upload-metadata": {"bucketName": "BUCKET", "objectName": "a.txt", "contentType": "x"}},
        415,
        "Invalid Content-Type header",
    ),
    "a media type of two lines": (
        {"upload-metadata": {"bucketName": "BUCKET", "objectName": "a", "contentType": "a/b;\r\nx-evil: 1"}},
        415,
        "Invalid Content-Type header",
    ),
    "user metadata that PostgreSQL cannot keep": (
        {"upload-metadata": {"bucketName": "BUCKET", "objectName": "a", "metadata": '{"a": "\\u0000"}'}},
        400,
        "unsupported Unicode escape sequence",
    ),
}


@pytest.mark.parametrize("case", REFUSED_CREATIONS)
def test_a_creation_is_refused_with_what_is_wrong(
    admin: httpx2.Client, make_bucket: MakeBucket, depot: Server, rows: psycopg.Connection, case: str
) -> None:
    bucket = make_bucket()
    before = unfinished_files(depot)
    changes, status, text = REFUSED_CREATIONS[case]
    headers = {**TUS, "upload-length": "10", "upload-metadata": metadata(bucket, "a.txt"), **changes}
    answer = admin.post(BASE, headers=wire_headers(headers, bucket))
    assert (answer.status_code, answer.text[: len(text)]) == (status, text)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert uploads_in(rows, bucket) == 0
    assert unfinished_files(depot) == before


def wire_headers(headers: Mapping[str, str | dict[str, str] | None], bucket: str) -> dict[str, bytes]:
    texts = {
        name: ",".join(f"{key} {encode(text.replace('BUCKET', bucket))}" for key, text in value.items())
        if isinstance(value, dict)
        else value
        for name, value in headers.items()
    }
    return {name: text.encode("latin-1") for name, text in texts.items() if text is not None}


def uploads_in(rows: psycopg.Connection, bucket: str) -> int:
    found = rows.execute("select count(*) from basalt.resumable_uploads where bucket_id = %s", [bucket])
    [(count,)] = found.fetchall()
    return int(count)


REFUSED_PIECES: dict[str, tuple[dict[str, str | None], bytes, int, str]] = {
    "no version": ({"tus-resumable": None}, b"x", 412, "Tus-Resumable Required"),
    "no type": ({"content-type": None}, b"x", 400, "Invalid content-type"),
    "another type": ({"content-type": "text/plain"}, b"x", 400, "Invalid content-type"),
    "no offset": ({"upload-offset": None}, b"x", 400, "Upload-Offset header required"),
    "a negative offset": ({"upload-offset": "-1"}, b"x", 400, "Invalid upload-offset"),
    "no number": ({"upload-offset": "0x5"}, b"x", 400, "Invalid upload-offset"),
    "an earlier offset": ({"upload-offset": "0"}, b"x", 409, "Upload-Offset conflict"),
    "a later offset": ({"upload-offset": "6"}, b"x", 409, "Upload-Offset conflict"),
    "another length": ({"upload-length": "11"}, b"x", 400, "Upload-Length cannot change"),
    "more than was announced": ({}, b"x" * 6, 413, "Maximum size exceeded"),
}


@pytest.mark.parametrize("case", REFUSED_PIECES)
def test_a_piece_is_refused_with_what_is_wrong(
    admin: httpx2.Client, make_bucket: MakeBucket, case: str
) -> None:
    bucket = make_bucket()
    url = begin(admin, bucket, "a.txt")
    append(admin, url, 0, b"hello")
    changes, content, status, text = REFUSED_PIECES[case]
    headers = {name: value for name, value in {**BODY, "upload-offset": "5", **changes}.items() if value}
    answer = admin.patch(url, headers=headers, content=content)
    assert (answer.status_code, answer.text) == (status, text)
    assert offset_of(admin, url) == 5
    assert append(admin, url, 5, b"world").headers["tus-complete"] == "1"
    assert fetch(admin, bucket, "a.txt") == b"helloworld"


def test_a_body_of_unknown_length_ends_where_the_upload_does(
    admin: httpx2.Client, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket()
    url = begin(admin, bucket, "a.txt")
    assert append(admin, url, 0, iter([b"hel", b"lo"])).headers["upload-offset"] == "5"
    too_much = append(admin, url, 5, iter([b"worl", b"d!"]))
    assert (too_much.status_code, too_much.text) == (413, "Maximum size exceeded")
    assert offset_of(admin, url) == 5
    assert append(admin, url, 5, iter([b"worl", b"d"])).headers["tus-complete"] == "1"
    assert fetch(admin, bucket, "a.txt") == b"helloworld"


def test_what_was_terminated_is_gone(
    admin: httpx2.Client, make_bucket: MakeBucket, depot: Server, rows: psycopg.Connection
) -> None:
    before = unfinished_files(depot)
    bucket = make_bucket()
    url = begin(admin, bucket, "a.txt")
    append(admin, url, 0, b"hello")
    assert arrived(depot, url) == 5
    ended = admin.delete(url, headers=TUS)
    assert (ended.status_code, ended.content, ended.headers["tus-resumable"]) == (204, b"", "1.0.0")
    assert admin.head(url, headers=TUS).status_code == 404
    assert append(admin, url, 5, b"world").text == "Upload not found"
    assert admin.delete(url, headers=TUS).status_code == 404
    assert uploads_in(rows, bucket) == 0
    assert unfinished_files(depot) == before


def test_a_finished_upload_cannot_be_terminated(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    for upsert in ("false", "true"):
        url = begin(admin, bucket, f"{upsert}.txt", 5, x_upsert=upsert)
        append(admin, url, 0, b"hello")
        assert admin.delete(url, headers=TUS).status_code == 409
        assert append(admin, url, 5, b"").status_code == 409
        assert offset_of(admin, url) == 5
        assert fetch(admin, bucket, f"{upsert}.txt") == b"hello"


def test_an_upload_nobody_knows_is_not_found(admin: httpx2.Client) -> None:
    for place in (f"{BASE}/{uuid4()}", f"{BASE}/nonsense", f"{BASE}/..%2fx", f"{BASE}/a/b", f"{BASE}x"):
        assert admin.head(place, headers=TUS).status_code == 404
        assert append(admin, place, 0, b"x").status_code == 404
        assert admin.delete(place, headers=TUS).status_code == 404
    assert admin.get(f"{BASE}/{uuid4()}", headers=TUS).status_code == 404
    assert admin.patch(BASE, headers=BODY).status_code == 404


def test_the_method_may_be_in_a_header(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    """For environments that know neither PATCH nor DELETE ("X-HTTP-Method-Override")."""
    bucket = make_bucket()
    url = begin(admin, bucket, "a.txt")
    patch = {**BODY, "upload-offset": "0", "x-http-method-override": "PATCH"}
    assert admin.post(url, headers=patch, content=b"hello").headers["upload-offset"] == "5"
    seen = admin.get(url, headers={**TUS, "x-http-method-override": "HEAD"})
    assert seen.headers["upload-offset"] == "5"
    assert admin.post(url, headers={**TUS, "x-http-method-override": "DELETE"}).status_code == 204


PLACES: dict[str, tuple[dict[str, str], str]] = {
    "the host of the request": ({"host": "files.example:8443"}, "http://files.example:8443"),
    "a proxy's": ({"x-forwarded-host": "a.example", "x-forwarded-proto": "https"}, "https://a.example"),
    "a proxy's port": (
        {"x-forwarded-host": "a.example:1", "x-forwarded-proto": "https", "x-forwarded-port": "8443"},
        "https://a.example:8443",
    ),
    "the usual port": (
        {"x-forwarded-host": "a.example", "x-forwarded-proto": "https", "x-forwarded-port": "443"},
        "https://a.example",
    ),
    "several proxies": (
        {"x-forwarded-host": "a.example, b.example", "x-forwarded-proto": "https, http"},
        "https://a.example",
    ),
    "an IPv6 address": ({"x-forwarded-host": "[::1]:8080"}, "http://[::1]:8080"),
    "a host that is a path": (
        {"host": "a.example", "x-forwarded-host": "evil.example/x"},
        "http://a.example",
    ),
    "a host with a user": ({"host": "a.example", "x-forwarded-host": "a@evil.example"}, "http://a.example"),
    "no host at all": ({"host": "a b"}, "CONFIGURED"),
    "no port": ({"host": "a.example:99999"}, "CONFIGURED"),
    "no scheme": ({"host": "a.example", "x-forwarded-proto": "javascript"}, "http://a.example"),
    "a port of words": ({"x-forwarded-host": "a.example", "x-forwarded-port": "8443/x"}, "http://a.example"),
}


@pytest.mark.parametrize("case", PLACES)
def test_the_location_is_where_the_client_is(
    admin: httpx2.Client, make_bucket: MakeBucket, depot: Server, case: str
) -> None:
    headers, place = PLACES[case]
    url = begin(admin, make_bucket(), "a.txt", **headers)
    expected = depot.url if place == "CONFIGURED" else place
    assert url.rpartition("/")[0] == f"{expected}/storage/v1/upload/resumable"


def test_an_object_is_replaced_only_when_that_was_asked_for(
    admin: httpx2.Client, make_bucket: MakeBucket, depot: Server
) -> None:
    before = unfinished_files(depot)
    bucket = make_bucket()
    early = begin(admin, bucket, "a.txt", 5)
    append(admin, early, 0, b"ear")
    admin.post(f"/object/{bucket}/a.txt", content=b"before").raise_for_status()
    for refused in (create(admin, bucket, "a.txt"), append(admin, early, 3, b"ly")):
        assert (refused.status_code, refused.text) == (409, "The resource already exists")
    assert offset_of(admin, early) == 3

    url = begin(admin, bucket, "a.txt", 5, x_upsert="true")
    append(admin, url, 0, b"aft")
    assert fetch(admin, bucket, "a.txt") == b"before"
    assert append(admin, url, 3, b"er").headers["tus-complete"] == "1"
    assert fetch(admin, bucket, "a.txt") == b"after"
    assert admin.delete(early, headers=TUS).status_code == 204
    assert unfinished_files(depot) == before


def test_a_bucket_s_limits_hold(admin: httpx2.Client, make_bucket: MakeBucket, depot: Server) -> None:
    before = unfinished_files(depot)
    bucket = make_bucket(file_size_limit=8, allowed_mime_types=["image/*"])
    picture = metadata(bucket, "a.png", contentType="image/png")
    too_long = create(admin, bucket, "a.png", 9, upload_metadata=picture)
    assert (too_long.status_code, too_long.text) == (413, "Maximum size exceeded")
    for others in ({"contentType": "text/plain"}, {}):
        wrong = create(admin, bucket, "a", 8, upload_metadata=metadata(bucket, "a", **others))
        assert wrong.status_code == 415

    url = begin(admin, bucket, "a.png", None, upload_metadata=picture)
    assert append(admin, url, 0, b"12345").status_code == 204
    for refused in (
        append(admin, url, 5, b"6789"),
        append(admin, url, 5, iter([b"67", b"89"])),
        append(admin, url, 5, b"", upload_length="9"),
    ):
        assert (refused.status_code, refused.text) == (413, "Maximum size exceeded")
    assert append(admin, url, 5, b"678", upload_length="8").headers["tus-complete"] == "1"
    assert fetch(admin, bucket, "a.png") == b"12345678"
    made = admin.post(
        BASE, headers={**BODY, "upload-defer-length": "1", "upload-metadata": picture}, content=b"x" * 9
    )
    assert made.status_code == 409  # there is one by now
    assert unfinished_files(depot) == before


NAMES: dict[str, bytes] = {
    "parents": b"../../etc/passwd",
    "a parent inside": b"a/../b",
    "a parent at the end": b"a/..",
    "a dot": b"./a",
    "backslashes": b"..\\..\\a",
    "a drive": b"C:\\a",
    "NUL": b"a\0b",
    "a line": b"a\nb",
    "escape": b"a\x1bb",
    "no UTF-8": b"a\xff\xfe",
    "an overlong slash": b"..\xc0\xaf",
    "letters of elsewhere": "\u00e9".encode(),
    "a look-alike": "\u2024\u2024/a".encode(),
    "too long": b"a" * 1025,
    "percent": b"%2e%2e/a",
    "a query": b"a#b",
    "angles": b"<a>",
    "nothing": b"",
}


@pytest.mark.parametrize("case", NAMES)
def test_a_name_that_may_not_be_leaves_nothing_behind(
    admin: httpx2.Client, make_bucket: MakeBucket, depot: Server, rows: psycopg.Connection, case: str
) -> None:
    bucket = make_bucket("open")
    before = unfinished_files(depot), stored_files(depot)
    headers = {**BODY, "upload-length": "4", "upload-metadata": metadata(bucket, NAMES[case])}
    answer = admin.post(BASE, headers=headers, content=b"evil")
    assert answer.status_code == 400
    assert answer.text.startswith(("Invalid key: ", "The objectName of Upload-Metadata is not UTF-8"))
    assert uploads_in(rows, bucket) == 0
    assert rows.execute("select from storage.objects where bucket_id = %s", [bucket]).fetchall() == []
    assert (unfinished_files(depot), stored_files(depot)) == before


@pytest.mark.parametrize("name", ["/etc/passwd", "a///b.txt", "a b+c@$,;=?&'()*!.txt", "a" * 1024])
def test_a_name_that_only_looks_dangerous_is_a_name(
    admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection, name: str
) -> None:
    bucket = make_bucket()
    append(admin, begin(admin, bucket, name, 2), 0, b"ok")
    found = rows.execute("select name from storage.objects where bucket_id = %s", [bucket]).fetchall()
    assert found == [(name,)]


def test_uploads_go_on_beside_each_other(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()

    def upload(number: int) -> None:
        content = bytes([number]) * 300_000
        url = begin(admin, bucket, f"{number}.bin", len(content))
        for start in range(0, len(content), 100_000):
            assert append(admin, url, start, content[start : start + 100_000]).status_code == 204
        assert fetch(admin, bucket, f"{number}.bin") == content

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(upload, range(12)))


def test_an_upload_without_progress_expires(
    admin: httpx2.Client, make_bucket: MakeBucket, depot: Server, rows: psycopg.Connection
) -> None:
    bucket = make_bucket()
    url, other = begin(admin, bucket, "a.txt"), begin(admin, bucket, "b.txt")
    append(admin, url, 0, b"hello")
    append(admin, other, 0, b"hello")
    rows.execute(
        "update basalt.resumable_uploads set expires_at = now() - interval '1 s' where id = %s",
        [upload_id(url)],
    )
    for answer in (
        admin.head(url, headers=TUS),
        append(admin, url, 5, b"world"),
        admin.delete(url, headers=TUS),
    ):
        assert answer.status_code == 410
    assert asyncio.run(expire(depot)) == 1
    assert admin.head(url, headers=TUS).status_code == 404
    assert (arrived(depot, url), arrived(depot, other)) == (0, 5)
    assert append(admin, other, 5, b"world").headers["tus-complete"] == "1"
    assert asyncio.run(expire(depot)) == 0


async def expire(depot: Server) -> int:
    """What the collector does."""
    settings = load_settings(depot.project_dir, depot.environ)
    lanes = LanePool(load_access(settings.state_dir).conninfo("supabase_storage_admin"), size=1)
    store = DiskStore(storage_folder(settings))
    await lanes.open()
    try:
        return await expire_uploads(StorageDatabase(lanes), store)
    finally:
        await lanes.close()
        await store.close()


def test_nobody_else_reads_or_changes_uploads(rows: psycopg.Connection) -> None:
    for role in ("anon", "authenticated", "service_role"):
        with rows.transaction(force_rollback=True):
            rows.execute(f"set local role {role}")  # type: ignore[arg-type]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                rows.execute("select * from basalt.resumable_uploads")


def test_pages_of_other_origins_may_read_the_answers(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    asked = admin.options(
        BASE,
        headers={
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,tus-resumable,upload-length,upload-metadata,x-upsert",
        },
    )
    assert asked.status_code == 200
    assert "PATCH" in asked.headers["access-control-allow-methods"]
    assert "upload-metadata" in asked.headers["access-control-allow-headers"]
    made = create(admin, bucket, "a.txt", origin="https://app.example")
    assert made.headers["access-control-allow-origin"] == "*"
    exposed = {name.strip().lower() for name in made.headers["access-control-expose-headers"].split(",")}
    assert exposed >= {
        *("location", "upload-offset", "upload-length", "upload-metadata", "upload-expires"),
        *(
            "upload-defer-length",
            "tus-version",
            "tus-resumable",
            "tus-max-size",
            "tus-extension",
            "tus-complete",
        ),
    }
