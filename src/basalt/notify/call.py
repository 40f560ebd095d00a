"""One request to the notification API: what its handlers share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from basalt.config import NotifySettings
from basalt.http import Request
from basalt.notify.errors import NotifyError
from basalt.notify.template_book import TemplateBook
from basalt.postgres import Pool
from basalt.senders import ReportReader

Body = TypeVar("Body")


@dataclass(frozen=True, slots=True)
class NotifyContext:
    """What lives as long as the service."""

    settings: NotifySettings
    pool: Pool
    book: TemplateBook
    readers: Mapping[str, ReportReader]


@dataclass(frozen=True, slots=True)
class Call:
    ctx: NotifyContext
    request: Request


async def read_body(call: Call, kind: type[Body], *, limit_bytes: int) -> Body:
    """The body as JSON of this shape. Raises NotifyError notify_request_invalid, which names the place; BasaltError
    payload_too_large."""
    body = await call.request.body(limit_bytes)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise NotifyError("notify_request_invalid", f"The body is not what is expected here: {exc}") from exc
