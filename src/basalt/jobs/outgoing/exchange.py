"""From a claimed row to its outcome: is the request one that may be sent, and where does it end."""

import re
import time
from dataclasses import replace
from importlib.metadata import version
from urllib.parse import urljoin

from basalt.http import Target, WireAnswer, WireClient, WireError, WireRequest, parse_target
from basalt.jobs.outgoing.claiming import ClaimedRequest
from basalt.jobs.outgoing.outcome import Outcome, record_answer, record_failure
from basalt.jobs.outgoing.own_api import Headers, OwnApi

USER_AGENT = f"pg_net/0.20 (Basalt {version('basalt')})"
WEBHOOK_ID = "webhook-id"

# Those of one connection are the client's own affair (RFC 9110 §7.6.1).
CONNECTION_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

MAX_REDIRECTS = 10
REDIRECTS = (301, 302, 303, 307, 308)
# What another origin may see of the headers; a key that was meant for the first one stays with it.
HARMLESS_HEADERS = frozenset(
    {b"accept", b"content-type", b"user-agent", b"webhook-id", b"x-request-id", b"traceparent"}
)


async def send_request(
    client: WireClient, claimed: ClaimedRequest, *, own_api: OwnApi, max_bytes: int
) -> Outcome:
    """Never raises for what the request or its receiver does."""
    started = time.monotonic()
    try:
        request = build_request(claimed)
        answer = await _follow(client, request, own_api, claimed.timeout_s, max_bytes)
        outcome = record_answer(answer, max_bytes=max_bytes)
    except WireError as error:
        outcome = record_failure(error, timeout_ms=claimed.timeout_ms)
    return replace(outcome, duration_ms=round((time.monotonic() - started) * 1000))


def build_request(claimed: ClaimedRequest) -> WireRequest:
    """Raises WireError invalid for a URL or headers that would not stay one request to one place."""
    return WireRequest(claimed.method, parse_target(claimed.url), build_headers(claimed), claimed.body)


def build_headers(claimed: ClaimedRequest) -> Headers:
    headers: dict[str, tuple[bytes, bytes]] = {}
    for name, value in claimed.headers.items():
        text = _header_text(value)
        if text is None or name.lower() in CONNECTION_HEADERS:
            continue
        if name.lower() == "host":
            raise WireError("invalid", "The header Host is not given by the caller")
        if not HEADER_NAME.fullmatch(name) or CONTROL_CHARACTERS.search(text):
            raise WireError("invalid", f"The header {name[:40]!r} is not one that HTTP allows")
        headers[name.lower()] = (name.encode("ascii"), text.encode())
    headers.setdefault("accept", (b"Accept", b"*/*"))
    headers.setdefault("user-agent", (b"User-Agent", USER_AGENT.encode()))
    if claimed.webhook is not None:
        headers[WEBHOOK_ID] = (WEBHOOK_ID.encode(), str(claimed.webhook.webhook_id).encode())
    return tuple(headers.values())


def _header_text(value: object) -> str | None:
    """As `jsonb_each_text` would say it; None is left out."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case _:
            return str(value).strip(" \t")


async def _follow(
    client: WireClient, request: WireRequest, own_api: OwnApi, timeout_s: float, max_bytes: int
) -> WireAnswer:
    """libcurl follows redirects for pg_net. Here, too; each one is checked as the first address was, and all of them
    share the time."""
    deadline = time.monotonic() + timeout_s
    for _ in range(MAX_REDIRECTS + 1):
        target = own_api.locate(request.target)
        answer = await client.exchange(
            replace(request, target=target, headers=own_api.complete(target, request.headers)),
            timeout_s=max(deadline - time.monotonic(), 0),
            max_bytes=max_bytes,
        )
        redirected = plan_redirect(request, answer)
        if redirected is None:
            return answer
        request = redirected
    raise WireError("invalid", "Number of redirects hit maximum amount")


def plan_redirect(request: WireRequest, answer: WireAnswer) -> WireRequest | None:
    """The next request, or None when the answer is the last one. 307 and 308 keep method and body; the others become a
    GET as everywhere (RFC 9110 §15.4). From https nothing goes on to http."""
    location = next((value for name, value in answer.headers if name.lower() == b"location"), None)
    if answer.status not in REDIRECTS or location is None:
        return None
    here = request.target
    target = parse_target(urljoin(here.origin + here.path, location.decode("utf-8", "replace")))
    if here.scheme == "https" and target.scheme == "http":
        return None
    headers = request.headers if _is_same_origin(here, target) else _harmless(request.headers)
    if answer.status in (307, 308) or (request.method == "GET" and request.body is None):
        return replace(request, target=target, headers=headers)
    without_type = tuple(header for header in headers if header[0].lower() != b"content-type")
    method = request.method if request.method == "DELETE" and answer.status != 303 else "GET"
    return WireRequest(method, target, without_type, None)


def _is_same_origin(here: Target, there: Target) -> bool:
    return (here.scheme, here.host, here.port) == (there.scheme, there.host, there.port)


def _harmless(headers: Headers) -> Headers:
    return tuple(header for header in headers if header[0].lower() in HARMLESS_HEADERS)
