"""`POST /notify/v1/events` and what shows how far an event has come.

Everything is checked before anything is written: the templates of the event type are rendered with the event's
context, so that a missing variable is the caller's to see and no recipient's.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
import orjson
import psycopg

from basalt.http import Response, json_response
from basalt.notify.call import Call, read_body
from basalt.notify.errors import NotifyError
from basalt.notify.preferences import NotifyChannel
from basalt.notify.rendering import rehearse
from basalt.notify.template_book import Template

MAX_AUDIENCE_BYTES = 5_000_000  # a hundred thousand users

SET_REQUEST_ID = "select set_config('request.headers', %(headers)s, true)"
ISSUE = """
select public.issue_notification(
    %(event_type)s, %(subject_id)s, %(context)s::jsonb, %(actor_id)s, %(channels)s::text[], %(audience)s::jsonb,
    %(scheduled_for)s, %(expires_at)s, %(priority)s, %(dedup_key)s)::text as id
"""
SHOW = "select basalt.notification_progress(%(id)s) as progress"

# What the routine refuses, by its SQLSTATE. That the event type has no template was seen before.
CODES = {
    "PT400": "event_invalid",
    "PT404": "event_recipient_not_found",
    "PT413": "event_too_large",
    "PT429": "event_queue_full",
}


class EventBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    event_type: str
    subject_id: UUID | None = None
    context: dict[str, Any] = {}
    actor_id: UUID | None = None
    channels: list[NotifyChannel] | None = None
    audience: dict[str, Any] | None = None
    scheduled_for: datetime | None = None
    expires_at: datetime | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=9)] = 5
    dedup_key: str | None = None


async def issue_event(call: Call) -> Response:
    """202 with the event's id: its recipients are found and told by the worker."""
    settings = call.ctx.settings
    event = await read_body(call, EventBody, limit_bytes=settings.max_context_bytes + MAX_AUDIENCE_BYTES)
    for name in ("scheduled_for", "expires_at"):
        instant = getattr(event, name)
        if instant is not None and instant.tzinfo is None:
            raise NotifyError("event_invalid", f"{name} has no time zone", hint="Write 2026-05-01T09:00:00Z")
    if event.channels == []:
        raise NotifyError("event_invalid", "channels is empty", hint="Leave it out for all channels")
    _check_context(event.context, settings.max_context_bytes)
    await call.ctx.book.refresh()
    templates = [
        template
        for template in call.ctx.book.of_event_type(event.event_type)
        if event.channels is None or template.channel in event.channels
    ]
    if not templates:
        ways = "" if event.channels is None else f" for {', '.join(event.channels)}"
        raise NotifyError(
            "event_type_not_found",
            f"No active template{ways} has the event type {event.event_type!r:.120}",
            details=None if event.channels is None else {"channels": event.channels},
            hint="Make one: POST /notify/v1/templates, or select save_notification_template(…)",
        )
    await asyncio.to_thread(_rehearse_all, templates, event)
    event_id = await _issue(call, event)
    return json_response({"id": event_id}, 202, [("location", f"{call.request.prefix}/events/{event_id}")])


async def show_event(call: Call, event_id: str) -> Response:
    try:
        known_id = UUID(event_id)
    except ValueError as exc:
        raise NotifyError("event_not_found") from exc
    async with call.ctx.pool.connection() as connection:
        row = await (await connection.execute(SHOW, {"id": known_id})).fetchone()
    if row is None or row["progress"] is None:
        raise NotifyError("event_not_found")
    return json_response(row["progress"])


def _check_context(context: Mapping[str, Any], limit_bytes: int) -> None:
    size = len(_write_json("context", context))
    if size > limit_bytes:
        raise NotifyError(
            "event_too_large",
            f"context has {size} bytes, more than {limit_bytes}",
            hint="Name what the message is about by its id, or raise notify.max_context",
        )


def _write_json(name: str, value: Mapping[str, Any]) -> bytes:
    """Deep nesting, numbers of over 64 bits and half surrogates can be read, and not be written."""
    try:
        return orjson.dumps(value)
    except TypeError as exc:
        raise NotifyError("event_invalid", f"{name}: {exc}") from exc


def _rehearse_all(templates: Sequence[Template], event: EventBody) -> None:
    """Raises TemplateError."""
    for template in templates:
        rehearse(
            template,
            event.context,
            event_type=event.event_type,
            subject_id=None if event.subject_id is None else str(event.subject_id),
            actor_id=None if event.actor_id is None else str(event.actor_id),
        )


async def _issue(call: Call, event: EventBody) -> str:
    parameters = {
        name: getattr(event, name)
        for name in (
            "event_type",
            "subject_id",
            "actor_id",
            "channels",
            "scheduled_for",
            "expires_at",
            "priority",
            "dedup_key",
        )
    }
    parameters["context"] = _write_json("context", event.context).decode()
    parameters["audience"] = (
        None if event.audience is None else _write_json("audience", event.audience).decode()
    )
    headers = orjson.dumps({"x-request-id": call.request.request_id}).decode()
    try:
        async with call.ctx.pool.connection() as connection:
            await connection.execute(SET_REQUEST_ID, {"headers": headers})
            row = await (await connection.execute(ISSUE, parameters)).fetchone()
    except psycopg.Error as exc:
        code = CODES.get(exc.sqlstate or "")
        if code is None and isinstance(exc, psycopg.DataError):  # a text that PostgreSQL cannot hold
            code = "event_invalid"
        if code is None:
            raise
        message = exc.diag.message_primary or str(exc)
        raise NotifyError(code, message, details=exc.diag.message_detail, hint=exc.diag.message_hint) from exc
    assert row is not None
    event_id: str = row["id"]
    return event_id
