"""The verification service of hCaptcha and of Turnstile: a form with `secret`, `response` and `remoteip`, a JSON
verdict. A token is good once."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from tests.fakes.small_server import Received, Reply, small_server

SECRET = "0x4AAAAAAABkMYinukE8nzYS"


@dataclass
class CaptchaService:
    """Tokens in `solved` pass. `reply` replaces the verdict."""

    solved: set[str] = field(default_factory=set)
    asked: list[dict[str, str]] = field(default_factory=list)
    reply: Reply | None = None

    def answer(self, request: Received) -> Reply:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        self.asked.append(form)
        if self.reply is not None:
            return self.reply
        wrong = []
        if request.headers.get("content-type") != "application/x-www-form-urlencoded":
            wrong.append("bad-request")
        if form.get("secret") != SECRET:
            wrong.append("invalid-input-secret")
        if form.get("response") not in self.solved:
            wrong.append("invalid-input-response")
        self.solved.discard(form.get("response", ""))
        verdict = {"success": not wrong, "error-codes": wrong, "hostname": "localhost"}
        return Reply(200, json.dumps(verdict).encode(), {"content-type": "application/json"})


@contextmanager
def captcha_service(service: CaptchaService) -> Iterator[str]:
    with small_server(service.answer) as url:
        yield f"{url}/siteverify"
