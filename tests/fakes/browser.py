"""Chromium without a window, driven over the DevTools protocol, and the web server of the page it shows."""

import functools
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START_LIMIT_S = 30


def find_browser() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab. Commands are answered in their order; events in between are passed over."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=START_LIMIT_S))
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message['error']}"
                result: dict[str, Any] = message["result"]
                return result

    def open(self, url: str) -> None:
        """Show a page and wait until it has loaded, not the one that was there before."""
        self.run("window.isOld = true")
        self.command("Page.navigate", url=url)
        until = time.monotonic() + START_LIMIT_S
        while not self._shows(url):
            assert time.monotonic() < until, "the page did not load"
            time.sleep(0.05)

    def _shows(self, url: str) -> bool:
        try:
            shown = self.run("!window.isOld && document.readyState + location.href")
        except AssertionError:  # between two pages there is nothing to run in
            return False
        return bool(shown == f"complete{url}")

    def run(self, script: str) -> Any:
        """The JSON value of an expression, of what it promises if it is a promise."""
        done = self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done.get("exceptionDetails")
        return done["result"].get("value")


@contextmanager
def a_page(browser: str, folder: Path) -> Iterator[Page]:
    """A tab of a new browser with a profile of its own in `folder`."""
    profile, messages = folder / "profile", folder / "browser.log"
    options = [
        "--headless=new",
        "--no-sandbox",  # the tests may run as root, where Chromium has no sandbox
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "about:blank",
    ]
    environ = {**os.environ, "HOME": str(folder)}
    with messages.open("wb") as log:
        process = subprocess.Popen([browser, *options], stdout=log, stderr=log, env=environ)
        try:
            with connect(_tab(process, profile, messages), max_size=None) as connection:
                yield Page(connection)
        finally:
            process.terminate()
            process.wait(START_LIMIT_S)


def _tab(process: subprocess.Popen[bytes], profile: Path, messages: Path) -> str:
    """The address of the first tab, once the browser has said on which port it listens."""
    announced, until = profile / "DevToolsActivePort", time.monotonic() + START_LIMIT_S
    while not announced.exists() or not announced.read_text():
        log = messages.read_text(errors="replace")
        assert process.poll() is None, f"the browser did not start:\n{log}"
        assert time.monotonic() < until, f"the browser is not ready:\n{log}"
        time.sleep(0.05)
    port = announced.read_text().split()[0]
    with urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
        tabs = json.load(answer)
    address: str = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
    return address


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *parts: object) -> None:
        """Nobody reads it."""


@contextmanager
def serving(folder: Path, port: int) -> Iterator[None]:
    """The files of a folder, on `localhost`."""
    server = ThreadingHTTPServer(("127.0.0.1", port), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
