"""Pwned Passwords: `GET /range/PREFIX` gives the suffixes of known hashes, padded (haveibeenpwned.com/API/v3)."""

import hashlib
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.fakes.small_server import Received, Reply, small_server


@dataclass
class PwnedPasswords:
    """`known` are the passwords of the breaches. `reply` replaces every answer."""

    known: set[str] = field(default_factory=set)
    padding: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    reply: Reply | None = None

    def answer(self, request: Received) -> Reply:
        self.asked.append(request.path)
        if self.reply is not None:
            return self.reply
        found = re.fullmatch("/range/([0-9A-F]{5})", request.path)
        if found is None or not request.headers.get("user-agent"):
            return Reply(400)
        if request.headers.get("add-padding") != "true":
            return Reply(400)
        lines = [f"{secrets.token_hex(18)[:35].upper()}:{number}" for number in range(800)]
        for words, count in ((self.known, 3), (self.padding, 0)):
            for word in words:
                digest = hashlib.sha1(word.encode()).hexdigest().upper()
                if digest.startswith(found[1]):
                    lines.append(f"{digest[5:]}:{count}")
        return Reply(200, "\r\n".join(sorted(lines)).encode(), {"content-type": "text/plain"})


@contextmanager
def pwned_passwords(service: PwnedPasswords) -> Iterator[str]:
    with small_server(service.answer) as url:
        yield f"{url}/range/"
