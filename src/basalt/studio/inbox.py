"""The Inbox's pages: every message as whoever gets it would see it.

Mails come from templates and from users' words, and may hold anything. A mail is a document of its own, under a policy
that lets nothing in it act: no scripts, no forms, nothing loaded but images and fonts over HTTPS; `sandbox` gives it an
origin that is nobody's, shown in a frame or opened by itself. Links open in a new tab, as in a mail reader.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Final
from urllib.parse import urlencode

from basalt.config import NotifySettings
from basalt.errors import BasaltError
from basalt.http import Request, Response, Route, json_response
from basalt.postgres import Pool
from basalt.senders import INBOX_CHANNELS, InboxPage, InboxPlace, load_inbox, load_message_html, parse_place

MAX_MESSAGES: Final = 500
PAGE_SIZE: Final = 50
SANDBOX: Final = (
    "allow-popups allow-popups-to-escape-sandbox"  # for links; scripts, forms and the rest stay off
)
MAIL_HEADERS: Final = [
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline' https:; img-src https: data:; font-src https: data:; "
        b"form-action 'none'; frame-ancestors 'self'; sandbox " + SANDBOX.encode(),
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
]
LINKS_IN_A_NEW_TAB: Final = '<!doctype html><base target="_blank">'

# Asks for the same page every two seconds and puts what is new at the top, so that nothing that is open closes.
REFRESH: Final = """
const list = document.getElementById("messages");
setInterval(async () => {
  if (document.hidden) return;
  const answer = await fetch(location.href).catch(() => null);
  if (!answer || !answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = [...page.querySelectorAll("#messages > article")].filter((one) => !document.getElementById(one.id));
  for (const one of fresh.reverse()) list.prepend(document.adoptNode(one));
  if (fresh.length) document.getElementById("nothing")?.remove();
}, 2000);
"""
REFRESH_HASH: Final = base64.b64encode(hashlib.sha256(REFRESH.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'unsafe-inline'; img-src https: data:; script-src 'sha256-{REFRESH_HASH}'; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class InboxPages:
    """`page` renders a template under a policy."""

    def __init__(self, notify: NotifySettings, pool: Pool, page: Callable[..., Response]) -> None:
        self._pool = pool
        self._page = page
        self._with_notifications = notify.enabled and notify.environment == "inbox"
        self.routes = [
            Route("GET", "/inbox", "operator", self._show),
            Route("GET", "/inbox.json", "operator", self._list),
            Route("GET", "/inbox/{message_id}/mail", "operator", self._show_mail),
        ]

    async def _show(self, request: Request) -> Response:
        chosen = _read_choice(request)
        found = await self._load(request, PAGE_SIZE)
        newest = {name: value for name, value in chosen.items() if name != "before"}
        older = f"?{urlencode({**newest, 'before': str(found.next)})}" if found.next else None
        return self._page(
            "inbox.html",
            policy=POLICY,
            messages=found.messages,
            channels=INBOX_CHANNELS,
            chosen=chosen,
            older=older,
            newest=f"?{urlencode(newest)}",
            sandbox=SANDBOX,
            refresh=REFRESH,
        )

    async def _list(self, request: Request) -> Response:
        limit = next((value for name, value in request.query() if name == "limit"), str(PAGE_SIZE))
        if not limit.isdecimal() or not 1 <= int(limit) <= MAX_MESSAGES:
            raise BasaltError("invalid_limit", 400, f"limit is a whole number from 1 to {MAX_MESSAGES}")
        found = await self._load(request, int(limit))
        messages = [asdict(message) for message in found.messages]
        return json_response({"messages": messages, "next": str(found.next) if found.next else None})

    async def _show_mail(self, request: Request, message_id: str) -> Response:
        is_number = message_id.isascii() and message_id.isdigit() and len(message_id) < 19
        html = await load_message_html(self._pool, int(message_id)) if is_number else None
        if html is None:
            raise BasaltError("not_found", 404, "There is no such mail")
        return Response(200, list(MAIL_HEADERS), (LINKS_IN_A_NEW_TAB + html).encode())

    async def _load(self, request: Request, limit: int) -> InboxPage:
        chosen = _read_choice(request)
        return await load_inbox(
            self._pool,
            to=chosen.get("to"),
            channel=chosen.get("channel"),
            before=_read_place(chosen.get("before")),
            limit=limit,
            with_notifications=self._with_notifications,
        )


def _read_choice(request: Request) -> dict[str, str]:
    """What the query chooses; an empty field of the form is none. No recipient holds a NUL."""
    given: dict[str, str] = {}
    for name, value in request.query():
        if name in ("to", "channel", "before") and value:
            given.setdefault(name, value.replace("\0", "\ufffd"))
    if given.get("channel") not in (None, *INBOX_CHANNELS):
        raise BasaltError("invalid_channel", 400, f"channel is one of {', '.join(INBOX_CHANNELS)}")
    return given


def _read_place(text: str | None) -> InboxPlace | None:
    try:
        return parse_place(text) if text else None
    except ValueError as exc:
        raise BasaltError("invalid_place", 400, "before is what `next` of an earlier answer was") from exc
