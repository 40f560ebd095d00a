"""Bodies over S3: in chunks, with checksums, too long, too short, and what is left of those that were refused."""

import base64
import hashlib
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSRequest

from basalt.storage.s3.checksums import ALGORITHMS
from tests.server import Server
from tests.storage.conftest import MakeBucket, stored_files, token_of, unfinished_files
from tests.storage.s3 import (
    Answer,
    begin_chunked,
    s3_client,
    send,
    service_credentials,
    sign_request,
    user_credentials,
)
from tests.storage.test_s3_objects import refusal

SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
PIECES = (b"a" * 70_000, b"b" * 5, b"c" * 70_000)
WHOLE = b"".join(PIECES)
CRC32 = base64.b64encode(zlib.crc32(WHOLE).to_bytes(4)).decode()
TRAILER = {"x-amz-checksum-crc32": CRC32}


@contextmanager
def nothing_left(server: Server) -> Iterator[None]:
    """What happens in the block leaves no bytes on the server's disk."""
    stored, unfinished = stored_files(server), set(unfinished_files(server))
    yield
    wait_for(lambda: set(unfinished_files(server)) == unfinished)
    assert stored_files(server) == stored


def send_chunked(
    server: Server,
    path: str,
    *,
    kind: str = SIGNED,
    trailer: dict[str, str] | None = None,
    pieces: Sequence[bytes] = PIECES,
    size: int | None = None,
    old: bytes = b"",
    new: bytes = b"",
    query: dict[str, str] | None = None,
) -> Answer:
    """An upload in chunks; `old` in the encoded body becomes `new`."""
    headers = {"x-amz-trailer": ",".join(trailer)} if trailer else {}
    announced = sum(map(len, pieces)) if size is None else size
    request, body = begin_chunked(
        server, service_credentials(server), path, announced, kind=kind, headers=headers, query=query
    )
    encoded = body.encode(pieces, trailer=trailer, is_signed=kind != UNSIGNED_TRAILER)
    return send(request, body=encoded.replace(old, new, 1) if old else encoded)


@pytest.mark.req("P8")
@pytest.mark.parametrize(
    ("kind", "trailer"), [(SIGNED, None), (SIGNED_TRAILER, TRAILER), (UNSIGNED_TRAILER, TRAILER)]
)
def test_a_body_in_chunks_is_stored_as_it_was_meant(
    depot: Server, s3: Any, make_bucket: MakeBucket, kind: str, trailer: dict[str, str] | None
) -> None:
    bucket = make_bucket()
    answer = send_chunked(depot, f"/{bucket}/a", kind=kind, trailer=trailer)
    assert answer.status == 200, answer.text
    assert answer.headers["etag"] == f'"{hashlib.md5(WHOLE).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="a")
    assert got["Body"].read() == WHOLE
    assert "ContentEncoding" not in got


@pytest.mark.req("P8")
def test_a_part_may_come_in_chunks(depot: Server, s3: Any, make_bucket: MakeBucket) -> None:
    named = {"Bucket": make_bucket(), "Key": "a"}
    upload_id = s3.create_multipart_upload(**named)["UploadId"]
    query = {"partNumber": "1", "uploadId": upload_id}
    assert send_chunked(depot, f"/{named['Bucket']}/a", query=query).status == 200
    assert send_chunked(depot, f"/{named['Bucket']}/a", query=query, old=b"aaa", new=b"aab").status == 403
    s3.complete_multipart_upload(**named, UploadId=upload_id)
    assert s3.get_object(**named)["Body"].read() == WHOLE


FORGED: dict[str, tuple[dict[str, Any], int, str]] = {
    "an edited chunk": ({"old": b"bbbbb", "new": b"bbbbc"}, 403, "SignatureDoesNotMatch"),
    "an edited signature": ({"old": b"chunk-signature=", "new": b"chunk-signature=0"}, 400, "InvalidRequest"),
    "a chunk that says less": ({"old": b"5;chunk", "new": b"4;chunk"}, 403, "SignatureDoesNotMatch"),
    "a longer length": ({"size": len(WHOLE) + 1}, 400, "IncompleteBody"),
    "a shorter length": ({"size": len(WHOLE) - 1}, 400, "IncompleteBody"),
    "no trailer": ({"kind": SIGNED_TRAILER}, 400, "IncompleteBody"),
    "no trailer, not signed": ({"kind": UNSIGNED_TRAILER}, 400, "IncompleteBody"),
    "an edited trailer": (
        {"kind": SIGNED_TRAILER, "trailer": TRAILER, "old": CRC32.encode(), "new": b"AAAAAA=="},
        403,
        "SignatureDoesNotMatch",
    ),
    "a wrong trailer": (
        {"kind": UNSIGNED_TRAILER, "trailer": {"x-amz-checksum-crc32": "AAAAAA=="}},
        400,
        "BadDigest",
    ),
    "a trailer that is no checksum": (
        {"kind": UNSIGNED_TRAILER, "trailer": {"x-amz-checksum-crc32": "nonsense"}},
        400,
        "InvalidDigest",
    ),
    "unsigned chunks where signed ones are due": (
        {"old": b";chunk-signature=", "new": b"\r\n"},
        400,
        "InvalidRequest",
    ),
    "more than the bucket takes": ({"pieces": [b"x" * 100_000] * 3}, 413, "EntityTooLarge"),
    "more than the bucket takes and was announced": (
        {"pieces": [b"x" * 100_000] * 3, "size": 10},
        400,
        "IncompleteBody",
    ),
}


@pytest.mark.req("P8")
@pytest.mark.parametrize("name", FORGED)
def test_a_forged_body_leaves_nothing(depot: Server, s3: Any, make_bucket: MakeBucket, name: str) -> None:
    arguments, status, code = FORGED[name]
    bucket = make_bucket(file_size_limit=200_000)
    s3.put_object(Bucket=bucket, Key="a", Body=b"old")
    with nothing_left(depot):
        answer = send_chunked(depot, f"/{bucket}/a", **arguments)
        assert (answer.status, answer.code) == (status, code)
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"old"


@pytest.mark.req("P8")
def test_chunks_need_their_length_and_a_kind_that_is_known(depot: Server, make_bucket: MakeBucket) -> None:
    credentials, path = service_credentials(depot), f"/{make_bucket()}/a"
    for kind, headers, code in (
        (SIGNED, {}, "MissingContentLength"),
        (SIGNED, {"x-amz-decoded-content-length": "x"}, "MissingContentLength"),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", {}, "InvalidRequest"),
        ("nonsense", {}, "InvalidRequest"),
    ):
        request = sign_request(
            depot, credentials, "PUT", path, headers={"x-amz-content-sha256": kind, **headers}, body=b"x"
        )
        assert send(request).code == code


@pytest.mark.req("P8")
@pytest.mark.parametrize("algorithm", ["md5", *ALGORITHMS])
def test_a_checksum_must_match_the_body(depot: Server, make_bucket: MakeBucket, algorithm: str) -> None:
    name = "content-md5" if algorithm == "md5" else f"x-amz-checksum-{algorithm}"
    digest = hashlib.md5() if algorithm == "md5" else ALGORITHMS[algorithm]()
    digest.update(b"hello")
    right, wrong = digest.digest(), bytes(len(digest.digest()))
    path = f"/{make_bucket()}/a"
    for value, code in (
        (base64.b64encode(right).decode(), None),
        (base64.b64encode(wrong).decode(), "BadDigest"),
        (base64.b64encode(right[1:]).decode(), "InvalidDigest"),
        ("nonsense", "InvalidDigest"),
    ):
        request = sign_request(
            depot, service_credentials(depot), "PUT", path, headers={name: value}, body=b"hello"
        )
        answer = send(request)
        assert answer.status == 200 if code is None else answer.code == code


@pytest.mark.req("P8")
@pytest.mark.parametrize(
    ("data", "crc32c", "crc64nvme"), [(b"123456789", 0xE3069283, 0xAE8B14860A799888), (b"", 0, 0)]
)
def test_the_rarer_checksums_are_those_of_their_catalogue(data: bytes, crc32c: int, crc64nvme: int) -> None:
    for name, expected, size in (("crc32c", crc32c, 4), ("crc64nvme", crc64nvme, 8)):
        digest = ALGORITHMS[name]()
        digest.update(data[:4])
        digest.update(data[4:])
        assert digest.digest() == expected.to_bytes(size)


@pytest.mark.req("P8")
@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
@pytest.mark.parametrize("signs", [True, False])
def test_boto3_sends_checksums_as_trailers(
    depot: Server, make_bucket: MakeBucket, algorithm: str, signs: bool
) -> None:
    config = {"s3": {"addressing_style": "path", "payload_signing_enabled": signs}}
    bucket = make_bucket("open")
    with s3_client(depot, user_credentials(depot, token_of(depot)), **config) as client:
        client.put_object(Bucket=bucket, Key="a", Body=b"hello", ChecksumAlgorithm=algorithm)
        assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"hello"


@pytest.mark.req("P8")
def test_a_body_that_is_not_the_signed_one_leaves_nothing(depot: Server, make_bucket: MakeBucket) -> None:
    request = sign_request(
        depot, service_credentials(depot), "PUT", f"/{make_bucket()}/a", body=b"x" * 300_000
    )
    with nothing_left(depot):
        assert send(request, body=b"y" * 300_000).code == "XAmzContentSHA256Mismatch"


@pytest.mark.req("P8")
def test_a_body_that_breaks_off_leaves_nothing(depot: Server, s3: Any, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    request = sign_request(depot, service_credentials(depot), "PUT", f"/{bucket}/a", body=b"x" * 3_000_000)
    with nothing_left(depot):
        before = set(unfinished_files(depot))
        with socket.create_connection(address_of(depot)) as connection:
            connection.sendall(head_of(request, "Content-Length: 3000000") + b"x" * 2_000_000)
            wait_for(lambda: set(unfinished_files(depot)) > before)
    assert refusal(s3.head_object, Bucket=bucket, Key="a")[0] == 404


def head_of(request: AWSRequest, *more: str) -> bytes:
    parts = urlsplit(request.url)
    lines = [f"PUT {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *more]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def address_of(server: Server) -> tuple[str, int]:
    parts = urlsplit(server.url)
    return parts.hostname or "", parts.port or 80


@pytest.mark.req("P8")
def test_a_body_of_unknown_length_is_stopped_at_the_limit(depot: Server, make_bucket: MakeBucket) -> None:
    request = sign_request(
        depot,
        service_credentials(depot),
        "PUT",
        f"/{make_bucket(file_size_limit=1000)}/a",
        headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
    )
    with nothing_left(depot), socket.create_connection(address_of(depot)) as connection:
        body = b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx\r\n"
        connection.sendall(head_of(request, "Transfer-Encoding: chunked") + body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.req("P8")
def test_a_connection_is_fit_for_more_after_a_refusal_before_the_body(
    s3: Any, make_bucket: MakeBucket
) -> None:
    """boto3 keeps the body back until it is asked for it."""
    bucket = make_bucket(file_size_limit=10)
    for _ in range(3):
        assert refusal(s3.put_object, Bucket=bucket, Key="a", Body=b"x" * 11) == (413, "EntityTooLarge")
        s3.put_object(Bucket=bucket, Key="a", Body=b"x" * 10)
