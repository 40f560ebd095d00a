"""What goes on beside a test, in a process of its own: `python -m tests.faults.realtime_beside health URL` asks for
`/health` again and again, `… flood URL KEY` sends frames of all kinds as fast as it can. Each prints `ready`, ends with
its standard input, and then prints what it found as JSON."""

import contextlib
import http.client
import json
import random
import sys
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.faults.realtime_raw import BINARY, mask_frame, open_raw

PACK = 20  # frames of each kind in one write


def watch_health(is_over: threading.Event, url: str) -> dict[str, float]:
    """The longest answer of a gateway that was up."""
    host, longest_s, answers = urlsplit(url).netloc, 0.0, 0
    while not is_over.wait(0.02):
        connection = http.client.HTTPConnection(host, timeout=20)
        began = time.monotonic()
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                answers += 1
                longest_s = max(longest_s, time.monotonic() - began)
        connection.close()
    return {"longest_s": longest_s, "answers": answers}


def flood(is_over: threading.Event, url: str, key: str) -> dict[str, float]:
    """Over a new connection whenever the server has had enough."""
    sent, packs = 0, make_packs(random.Random(1))
    while not is_over.is_set():
        with contextlib.suppress(OSError), open_raw(url, key) as raw:
            while not is_over.is_set():
                raw.settimeout(0.5)
                count, pack = next(packs)
                raw.sendall(pack)
                sent += count
                raw.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    raw.recv(1 << 20)
    return {"sent": sent}


def make_packs(dice: random.Random) -> Iterator[tuple[int, bytes]]:
    while True:
        frames = [
            mask_frame(b'[null,"7","phoenix","heartbeat",{}]'),
            mask_frame(b'["1","2","realtime:nowhere","broadcast",{"type":"broadcast","event":"e"}]'),
            mask_frame(b'["9","9","realtime:flood%d","phx_join",{"config":{}}]' % dice.randrange(10**9)),
            mask_frame(b'{"not": ["closed"'),
            mask_frame(b"[" * 2000),
            mask_frame(dice.randbytes(300), BINARY),
            mask_frame(b"\x03\xff\xff\xff\xff\xff\x01rest", BINARY),
        ]
        yield len(frames) * PACK, b"".join(frames) * PACK


def main() -> None:
    is_over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), is_over.set()), daemon=True).start()
    print("ready", flush=True)
    work = {"health": watch_health, "flood": flood}[sys.argv[1]]
    print(json.dumps(work(is_over, *sys.argv[2:])))


if __name__ == "__main__":
    main()
