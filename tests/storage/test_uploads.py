"""Uploads over the JSON API: bodies, forms, limits, names, and what is left when they fail."""

import base64
import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import httpx2
import psycopg
import pytest

from tests.server import Server
from tests.storage.conftest import MakeBucket, stored_files, unfinished_files

pytestmark = pytest.mark.req("P8")

TEXT = {"content-type": "text/plain"}


def put(
    client: httpx2.Client, bucket: str, name: str, content: bytes = b"hello", **headers: str
) -> httpx2.Response:
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    return client.post(f"/object/{bucket}/{name}", content=content, headers={**TEXT, **sent})


def refusal(answer: httpx2.Response) -> tuple[int, str, str]:
    body = answer.json()
    return answer.status_code, body["statusCode"], body["code"]


def test_an_upload_is_downloaded_as_it_was(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    sent = put(admin, bucket, "dir/hello.txt", b"hello world", cache_control="max-age=60")
    assert sent.status_code == 200, sent.text
    assert sent.json()["Key"] == f"{bucket}/dir/hello.txt"
    got = admin.get(f"/object/authenticated/{bucket}/dir/hello.txt")
    assert (got.status_code, got.content) == (200, b"hello world")
    assert got.headers["etag"] == '"5eb63bbbe01eeed093cb22bb8f5acdc3"'
    assert got.headers["cache-control"] == "max-age=60"


def test_the_row_says_what_was_stored(
    admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket()
    metadata = base64.b64encode(b'{"a":"b"}').decode()
    answer = put(admin, bucket, "x.txt", b"hello world", cache_control="max-age=60", x_metadata=metadata)
    row = rows.execute(
        "select id::text, metadata, user_metadata, owner, version, path_tokens from storage.objects"
        " where bucket_id = %s",
        [bucket],
    ).fetchone()
    assert row is not None
    assert row[0] == answer.json()["Id"]
    last_modified = row[1].pop("lastModified")
    assert last_modified.endswith("Z")
    assert len(last_modified) == 24
    assert row[1] == {
        "eTag": '"5eb63bbbe01eeed093cb22bb8f5acdc3"',
        "size": 11,
        "mimetype": "text/plain",
        "cacheControl": "max-age=60",
        "contentLength": 11,
        "httpStatusCode": 200,
    }
    assert row[2] == {"a": "b"}
    assert row[3] is None
    assert row[5] == ["x.txt"]


def test_what_a_header_leaves_out_has_a_default(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    answer = admin.post(f"/object/{bucket}/x", content=b"", headers={"x-metadata": "rubbish!"})
    assert answer.status_code == 200
    got = admin.get(f"/object/{bucket}/x")
    assert got.content == b""
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["cache-control"] == "no-cache"
    assert got.headers["x-robots-tag"] == "none"


def test_a_second_upload_needs_upsert(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    first = put(admin, bucket, "x.txt", b"one").json()
    assert refusal(put(admin, bucket, "x.txt", b"two")) == (400, "409", "KeyAlreadyExists")
    assert admin.get(f"/object/{bucket}/x.txt").content == b"one"
    second = put(admin, bucket, "x.txt", b"two", x_upsert="true")
    assert second.json()["Id"] == first["Id"]
    assert admin.get(f"/object/{bucket}/x.txt").content == b"two"
    assert admin.put(f"/object/{bucket}/x.txt", content=b"three", headers=TEXT).status_code == 200
    assert admin.get(f"/object/{bucket}/x.txt").content == b"three"


def test_a_replacement_keeps_id_and_birth_and_has_a_new_version(
    admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket()
    query = "select id, created_at, last_accessed_at, version, updated_at from storage.objects where bucket_id = %s"
    put(admin, bucket, "x.txt", b"one")
    before = rows.execute(query, [bucket]).fetchone()
    put(admin, bucket, "x.txt", b"two", x_upsert="true")
    after = rows.execute(query, [bucket]).fetchone()
    assert before is not None
    assert after is not None
    assert after[:3] == before[:3]
    assert after[3] != before[3]
    assert after[4] > before[4]


def test_a_form_holds_file_and_fields_in_any_order(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    for name, before, after in (
        ("before", {"cacheControl": "3600", "metadata": '{"a":1}'}, {}),
        ("after", {}, {"cacheControl": "3600", "metadata": '{"a":1}'}),
        ("userMetadata", {"userMetadata": '{"a":1}', "cacheControl": "3600"}, {}),
    ):
        body, headers = form(before, after, b"\x00\r\n--bytes", "text/plain;charset=UTF-8")
        assert admin.post(f"/object/{bucket}/{name}", content=body, headers=headers).status_code == 200
        info = admin.get(f"/object/info/{bucket}/{name}").json()
        assert (info["cache_control"], info["metadata"], info["content_type"]) == (
            "max-age=3600",
            {"a": 1},
            "text/plain",
        )
        assert admin.get(f"/object/{bucket}/{name}").content == b"\x00\r\n--bytes"


def test_the_type_field_of_a_form_wins_wherever_it_stands(
    admin: httpx2.Client, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket(allowed_mime_types=["image/*", "text/plain"])
    body, headers = form({}, {"contentType": "image/png"}, b"x", "text/plain")
    assert admin.post(f"/object/{bucket}/a", content=body, headers=headers).status_code == 200
    assert admin.get(f"/object/{bucket}/a").headers["content-type"] == "image/png"
    body, headers = form({}, {"contentType": "application/pdf"}, b"x", "text/plain")
    late = admin.post(f"/object/{bucket}/b", content=body, headers=headers)
    assert refusal(late) == (400, "415", "InvalidMimeType")


def test_a_form_without_a_file_is_refused(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    headers = {"content-type": "multipart/form-data; boundary=b"}
    body = b'--b\r\ncontent-disposition: form-data; name="cacheControl"\r\n\r\n60\r\n--b--\r\n'
    answer = admin.post(f"/object/{bucket}/x", content=body, headers=headers)
    assert refusal(answer) == (400, "400", "InvalidRequest")
    assert answer.json()["message"] == "No content provided"


@pytest.mark.parametrize(
    "body",
    [
        b'--b\r\ncontent-disposition: form-data; name=""; filename="x"\r\n\r\nhalf of it',
        b'--b\r\ncontent-disposition: form-data; name=""; filename="x"\r\n\r\nhalf of it\r\n--b',
        b"no form at all",
        b"--b\r\n" + b"x" * 20_000,
        b"",
    ],
)
def test_a_broken_form_leaves_nothing(
    admin: httpx2.Client, make_bucket: MakeBucket, depot: Server, body: bytes
) -> None:
    bucket = make_bucket()
    before = stored_files(depot)
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = admin.post(f"/object/{bucket}/x", content=body, headers=headers)
    assert refusal(answer) == (400, "400", "InvalidRequest")
    assert stored_files(depot) == before
    assert admin.get(f"/object/info/{bucket}/x").json()["code"] == "NoSuchKey"


def test_a_bucket_takes_what_it_says(admin: httpx2.Client, make_bucket: MakeBucket, depot: Server) -> None:
    bucket = make_bucket(file_size_limit="1kb", allowed_mime_types=["image/*", "text/plain"])
    assert put(admin, bucket, "a.txt", b"x" * 1000).status_code == 200
    before = stored_files(depot)
    assert refusal(put(admin, bucket, "b.txt", b"x" * 1001)) == (400, "413", "EntityTooLarge")
    wrong = put(admin, bucket, "c.pdf", content_type="application/pdf")
    assert refusal(wrong) == (400, "415", "InvalidMimeType")
    assert wrong.json()["message"] == "mime type application/pdf is not supported"
    assert put(admin, bucket, "d.png", content_type="Image/PNG; a=b").status_code == 200
    assert len(stored_files(depot) - before) == 1


def test_a_limit_holds_when_the_size_is_not_announced(
    admin: httpx2.Client, make_bucket: MakeBucket, depot: Server
) -> None:
    bucket = make_bucket(file_size_limit=300_000)
    put(admin, bucket, "x.txt", b"the earlier one")
    before, unfinished = stored_files(depot), unfinished_files(depot)

    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            yield b"x" * 65_536

    answer = admin.put(f"/object/{bucket}/x.txt", content=pieces(), headers=TEXT)
    assert refusal(answer) == (400, "413", "EntityTooLarge")
    assert stored_files(depot) == before
    assert unfinished_files(depot) == unfinished
    assert admin.get(f"/object/{bucket}/x.txt").content == b"the earlier one"


def test_the_servers_own_limit_is_above_all_buckets(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    answer = put(admin, bucket, "x", b"x" * (20 * 1024 * 1024 + 1))
    assert refusal(answer) == (400, "413", "EntityTooLarge")
    assert answer.json()["message"] == "The object exceeded the maximum allowed size"


def test_bytes_come_in_pieces_of_any_size(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    whole = bytes(range(256)) * 20_000

    def pieces() -> Iterator[bytes]:
        position, size = 0, 1
        while position < len(whole):
            yield whole[position : position + size]
            position, size = position + size, size * 3 + 1

    assert admin.post(f"/object/{bucket}/x", content=pieces(), headers=TEXT).status_code == 200
    assert admin.get(f"/object/{bucket}/x").content == whole


def test_a_body_that_ends_early_leaves_nothing(
    depot: Server, make_bucket: MakeBucket, admin: httpx2.Client
) -> None:
    bucket = make_bucket()
    before, unfinished = stored_files(depot), unfinished_files(depot)
    address = urlsplit(depot.url)
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.sendall(
            f"POST /storage/v1/object/{bucket}/x HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000\r\n"
            f"authorization: Bearer {depot.service_role_key}\r\ncontent-type: text/plain\r\n\r\n".encode()
            + b"x" * 3_000_000
        )
        until(lambda: unfinished_files(depot) != unfinished)
    until(lambda: unfinished_files(depot) == unfinished)
    assert stored_files(depot) == before
    assert admin.get(f"/object/info/{bucket}/x").json()["code"] == "NoSuchKey"


BAD_NAMES = [
    "../x",
    "a/../x",
    "a/..",
    "..",
    ".",
    "a/./b",
    "%2e%2e/x",
    "a/%2e%2e/%2e%2e/x",
    "..%2fx",
    "%2Fetc%2Fpasswd/../x",
    "a%00b",
    "a%0Ab",
    "a%0D%0Ab",
    "a%1Bb",
    "a%7Fb",
    "%FF%FE",
    "%C3%28",
    "%ED%A0%80",
    "h%C3%A9",
    "%E2%80%AE",
    "a%5Cb",
    "C%3A%5Cx",
    "a%5Bb%5D",
    "a%7Bb%7D",
    "a%7Cb",
    "a%5Eb",
    "a%60b",
    "a%25b",
    "a%23b",
    "a%22b",
    "a%3Cb%3E",
    "a%7Eb",
    "x" * 1025,
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_are_none_are_refused_everywhere(
    depot: Server, admin: httpx2.Client, make_bucket: MakeBucket, name: str
) -> None:
    bucket = make_bucket()
    before = stored_files(depot)
    # by hand: HTTP clients resolve dots themselves
    status, body = raw(depot, "POST", f"/storage/v1/object/{bucket}/{name}", b"x")
    assert (status, body["code"]) == (400, "InvalidKey")
    status, body = raw(depot, "PUT", f"/storage/v1/object/{bucket}/{name}", b"x")
    assert (status, body["code"]) == (400, "InvalidKey")
    status, body = raw(depot, "GET", f"/storage/v1/object/{bucket}/{name}")
    assert (status, body["code"]) == (400, "NoSuchKey")
    assert stored_files(depot) == before


@pytest.mark.parametrize("name", ["", "a/../b", "..", "a\0b", "a\nb", "hé", "x" * 1025, "a\\b", "a[b]"])
def test_names_in_bodies_are_looked_at_too(admin: httpx2.Client, make_bucket: MakeBucket, name: str) -> None:
    bucket = make_bucket()
    put(admin, bucket, "x")
    names = {"bucketId": bucket, "sourceKey": "x", "destinationKey": name}
    for path in ("/object/copy", "/object/move"):
        assert refusal(admin.post(path, json=names)) == (400, "400", "InvalidKey")
    assert (
        refusal(admin.post(f"/object/upload/sign/{bucket}/{quote(name, safe='')}"))[0] == 400
        if name
        else True
    )
    assert admin.get(f"/object/{bucket}/x").content == b"hello"


@pytest.mark.parametrize(
    "name", ["a///b.txt", "/x", "a/", "!-_.*'()", "&$@=;:+,?", "a b/c d.txt", "x" * 1024, "..."]
)
def test_odd_names_that_are_names_survive(admin: httpx2.Client, make_bucket: MakeBucket, name: str) -> None:
    bucket = make_bucket()
    sent = put(admin, bucket, quote(name, safe="/"), name.encode())
    assert sent.json()["Key"] == f"{bucket}/{name}"
    assert admin.get(f"/object/{bucket}/{quote(name, safe='')}").content == name.encode()
    deleted = admin.request("DELETE", f"/object/{bucket}", json={"prefixes": [name]})
    assert [row["name"] for row in deleted.json()] == [name]


def test_a_placeholder_of_a_folder_is_empty(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    assert put(admin, bucket, "dir/.emptyFolderPlaceholder", b"").status_code == 200
    full = put(admin, bucket, "dir2/.emptyFolderPlaceholder", b"x")
    assert refusal(full) == (400, "413", "EntityTooLarge")


def test_errors_come_in_the_order_of_the_contract(
    anon: httpx2.Client, admin: httpx2.Client, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket(file_size_limit=3, allowed_mime_types=["image/png"])
    big_text = {"content": b"hello", "headers": TEXT}
    assert refusal(anon.post("/object/nosuch/a[b]", **big_text))[2] == "InvalidKey"
    assert refusal(anon.post("/object/nosuch/a", **big_text))[2] == "NoSuchBucket"
    assert refusal(anon.post(f"/object/{bucket}/a", **big_text))[2] == "InvalidMimeType"
    png = {"content": b"hello", "headers": {"content-type": "image/png"}}
    denied = anon.post(f"/object/{bucket}/a", **png)
    assert refusal(denied) == (400, "403", "AccessDenied")
    assert denied.json() == {
        "statusCode": "403",
        "error": "Unauthorized",
        "message": "new row violates row-level security policy",
        "code": "AccessDenied",
    }
    assert refusal(admin.post(f"/object/{bucket}/a", **png))[2] == "EntityTooLarge"


@pytest.mark.parametrize("given", ["nonsense", "text", "text/", "/plain", "te xt/plain"])
def test_a_type_that_is_none_is_refused(admin: httpx2.Client, make_bucket: MakeBucket, given: str) -> None:
    answer = put(admin, make_bucket(), "x", content_type=given)
    assert refusal(answer) == (400, "415", "InvalidMimeType")
    assert answer.json()["message"] == "Invalid Content-Type header"


def test_user_metadata_has_a_limit(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    body, headers = form({"metadata": json.dumps({"a": "x" * 1024 * 1024})}, {}, b"x", "text/plain")
    assert refusal(admin.post(f"/object/{bucket}/x", content=body, headers=headers))[2] == "InvalidRequest"


def test_the_encoding_of_a_body_is_kept(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    put(admin, bucket, "x", b"not really", content_encoding="br")
    with admin.stream("GET", f"/object/{bucket}/x") as got:
        assert got.headers["content-encoding"] == "br"
        assert b"".join(got.iter_raw()) == b"not really"


def form(
    before: dict[str, str], after: dict[str, str], content: bytes, content_type: str
) -> tuple[bytes, dict[str, str]]:
    """A form as supabase-js makes it: the file's field has no name."""
    boundary = b"----basalt"
    parts = [field(boundary, name, value) for name, value in before.items()]
    parts.append(
        b'--%s\r\ncontent-disposition: form-data; name=""; filename=""\r\ncontent-type: %s\r\n\r\n%s\r\n'
        % (boundary, content_type.encode(), content)
    )
    parts += [field(boundary, name, value) for name, value in after.items()]
    body = b"".join(parts) + b"--%s--\r\n" % boundary
    return body, {"content-type": f"multipart/form-data; boundary={boundary.decode()}"}


def field(boundary: bytes, name: str, value: str) -> bytes:
    return b'--%s\r\ncontent-disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (
        boundary,
        name.encode(),
        value.encode(),
    )


def raw(server: Server, method: str, path: str, content: bytes = b"") -> tuple[int, dict[str, str]]:
    """A request with its path exactly as given, as the service role."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.sendall(
            f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(content)}\r\n"
            f"authorization: Bearer {server.service_role_key}\r\ncontent-type: text/plain\r\n\r\n".encode()
            + content
        )
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def until(condition: object, limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)
