"""The app at work, with its worker, and the providers that it sends by: fakes that speak the wire."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from basalt.postgres import load_access
from tests.fakes.fcm import FakeFcm
from tests.fakes.http2_server import http2_server
from tests.fakes.mixpanel import TOKEN, FakeMixpanel
from tests.fakes.small_server import small_server
from tests.fakes.twilio import ACCOUNT, FakeTwilio
from tests.fakes.twilio import TOKEN as TWILIO_TOKEN
from tests.server import Server, running_server

from .acting import App

LIMIT_S = 30


@dataclass
class Running:
    """The app with its worker, and the providers it talks to."""

    server: Server
    fcm: FakeFcm
    mixpanel: FakeMixpanel
    twilio: FakeTwilio
    app: App

    def call(self, function: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
        """A function called as the service role."""
        with self.server.client(self.server.secret_key) as client:
            answer = client.post(f"/functions/v1/{function}", json=body or {}, headers=headers)
            assert answer.status_code == 200, answer.text
            return answer.json()

    def count(self, sql: str, *parameters: Any) -> int:
        return int(self.app.one(sql, *parameters))


@contextmanager
def running_app(project: Path) -> Iterator[Running]:
    """`project` is a copy of the app, whose settings are changed for it."""
    fcm, mixpanel, twilio = FakeFcm(), FakeMixpanel(), FakeTwilio()
    with ExitStack() as stack:
        for fake, answer in ((fcm, fcm.grant), (mixpanel, mixpanel.answer), (twilio, twilio.answer)):
            fake.url = stack.enter_context(small_server(answer))
        fcm_url = stack.enter_context(serving_http2(fcm))
        leave_the_inbox(project, fcm, fcm_url, mixpanel, twilio)
        server = stack.enter_context(running_server(project, BASALT_WORKER_MODE="gateway"))
        admin = stack.enter_context(
            psycopg.connect(server.database_url, row_factory=dict_row, autocommit=True)
        )
        app = App(load_access(project / ".basalt"), admin)
        stack.callback(app.close)
        yield Running(server, fcm, mixpanel, twilio, app)


@contextmanager
def serving_http2(fcm: FakeFcm) -> Iterator[str]:
    """Messages for FCM come over HTTP/2, which a loop of its own serves."""
    url: list[str] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with http2_server(fcm.answer) as server:
            url.append(server.url)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(LIMIT_S)
    try:
        yield url[0]
    finally:
        done.set()
        thread.join(LIMIT_S)


def leave_the_inbox(
    project: Path, fcm: FakeFcm, fcm_url: str, mixpanel: FakeMixpanel, twilio: FakeTwilio
) -> None:
    config = project / "supabase" / "config.toml"
    text = config.read_text("utf-8").replace(
        'environment = "inbox"', 'environment = "sandbox"\nfirst_delay = "100ms"'
    )
    sandbox = f"""
[notify.sandbox.fcm]
service_account = '''{fcm.service_account()}'''
api_url = "{fcm_url}"

[notify.sandbox.twilio]
account_sid = "{ACCOUNT}"
auth_token = "{TWILIO_TOKEN}"
from = "+15005550006"
api_url = "{twilio.url}"

[notify.sandbox.mixpanel]
token = "{TOKEN}"
api_url = "{mixpanel.url}"
"""
    config.write_text(text + sandbox, "utf-8")
