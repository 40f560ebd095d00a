"""One large body up or down over a plain socket, in a process of its own:
`python -m bench.storage_transfer < plan.json` prints seconds and bytes."""

import json
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

BUFFER_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Transfer:
    """`head` is the head of the request as latin-1 text; `file` is sent after it, when there is one."""

    host: str
    port: int
    head: str
    file: str | None = None


def run_transfer(transfer: Transfer) -> tuple[float, int]:
    """Seconds and bytes of the body, measured from a process of its own. Raises RuntimeError for a refusal."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.storage_transfer"],
        input=json.dumps(asdict(transfer)),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    seconds, size = json.loads(done.stdout)
    return seconds, size


def _measure(transfer: Transfer) -> tuple[float, int]:
    with socket.create_connection((transfer.host, transfer.port)) as connection:
        started = time.perf_counter()
        connection.sendall(transfer.head.encode("latin-1"))
        sent = 0
        if transfer.file is not None:
            with open(transfer.file, "rb") as file:
                sent = connection.sendfile(file)
        status, received = _read_answer(connection)
        seconds = time.perf_counter() - started
    if not status.startswith("2"):
        raise SystemExit(f"status {status}")
    return seconds, sent or received


def _read_answer(connection: socket.socket) -> tuple[str, int]:
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = connection.recv(65536)
        if not chunk:
            raise SystemExit("the server closed the connection")
        head += chunk
    head, _, body = head.partition(b"\r\n\r\n")
    lower = head.lower()
    at = lower.find(b"content-length:")
    length = int(lower[at + 15 :].split(b"\r\n", 1)[0])
    received = len(body)
    buffer = bytearray(BUFFER_BYTES)
    while received < length:
        received += connection.recv_into(buffer)
    return head.split()[1].decode(), received


if __name__ == "__main__":
    print(json.dumps(_measure(Transfer(**json.load(sys.stdin)))))
