"""TUS as the tests speak it: one function per request, and a connection that stops in the middle of a body."""

import base64
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from tests.server import Server

TUS = {"tus-resumable": "1.0.0"}
BODY = {**TUS, "content-type": "application/offset+octet-stream"}
BASE = "/upload/resumable"


def metadata(bucket: str | None, name: str | bytes | None, **others: str) -> str:
    """`Upload-Metadata` of an object; `others` are further keys."""
    pairs = {"bucketName": bucket, "objectName": name, **others}
    return ",".join(f"{key} {encode(value)}".strip() for key, value in pairs.items() if value is not None)


def encode(value: str | bytes) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def create(
    client: httpx2.Client, bucket: str, name: str, length: int | None = 10, **headers: str
) -> httpx2.Response:
    """An upload of `length` bytes, or of a deferred length; `headers` with underscores."""
    size = {"upload-defer-length": "1"} if length is None else {"upload-length": str(length)}
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    return client.post(BASE, headers={**TUS, **size, "upload-metadata": metadata(bucket, name), **given})


def begin(client: httpx2.Client, bucket: str, name: str, length: int | None = 10, **headers: str) -> str:
    """The URL of a new upload."""
    made = create(client, bucket, name, length, **headers)
    assert made.status_code == 201, made.text
    return made.headers["location"]


def append(
    client: httpx2.Client, url: str, offset: int, content: bytes | Iterator[bytes] = b"", **headers: str
) -> httpx2.Response:
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    return client.patch(url, headers={**BODY, "upload-offset": str(offset), **given}, content=content)


def offset_of(client: httpx2.Client, url: str) -> int:
    answer = client.head(url, headers=TUS)
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"])


def fetch(client: httpx2.Client, bucket: str, name: str) -> bytes:
    answer = client.get(f"/object/authenticated/{bucket}/{name}")
    assert answer.status_code == 200, answer.text
    return answer.content


def upload_id(url: str) -> str:
    return url.rpartition("/")[2]


def parts_of(server: Server, url: str) -> list[Path]:
    """The stored parts of an upload, by number."""
    folder = server.project_dir / ".basalt" / "storage" / "uploads" / upload_id(url)
    return sorted(folder.iterdir()) if folder.is_dir() else []


def arrived(server: Server, url: str) -> int:
    return sum(part.stat().st_size for part in parts_of(server, url))


@contextmanager
def broken_request(
    method: str, url: str, sent: bytes, *, length: int, **headers: str
) -> Iterator[socket.socket]:
    """A request that announces a body of `length` bytes and has sent only some of them; the connection is still
    there."""
    place = urlsplit(url)
    given = {**BODY, "host": place.netloc, "content-length": str(length), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in given.items()]
    head = "\r\n".join([f"{method} {place.path} HTTP/1.1", *lines, "", ""])
    with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
        connection.sendall(head.encode() + sent)
        yield connection


def broken_append(
    server: Server, url: str, offset: int, sent: bytes, *, length: int
) -> AbstractContextManager[socket.socket]:
    """A PATCH of the service role that has come to a halt."""
    authorization = f"Bearer {server.service_role_key}"
    return broken_request(
        "PATCH", url, sent, length=length, authorization=authorization, upload_offset=str(offset)
    )


def read_answer(connection: socket.socket) -> tuple[int, str]:
    """Status and body of an answer after which the server closes the connection."""
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def wait_for(condition: Callable[[], bool], *, limit_s: float = 20) -> None:
    give_up_at = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < give_up_at, "it did not come to pass"
        time.sleep(0.02)
