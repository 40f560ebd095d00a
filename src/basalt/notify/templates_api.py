"""`/notify/v1/templates` and `/notify/v1/preview`: texts are tried out, checked and saved, and looked at.

What cannot be read is refused before it is saved, and with a `context` so is what cannot be rendered for it. A text is
never changed: saving makes the next version, which counts from then on.
"""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, LiteralString

import msgspec
import orjson
import psycopg

from basalt.http import Response, json_response
from basalt.notify.call import Call, read_body
from basalt.notify.errors import NotifyError
from basalt.notify.preferences import NotifyChannel
from basalt.notify.rendering import rehearse
from basalt.notify.template_book import Template
from basalt.notify.templates import Rendered, check_template

MAX_TEMPLATE_BYTES = 512 * 1024
MAX_TEMPLATES = 1000
MAX_VERSIONS = 100

Locale = Annotated[str, msgspec.Meta(max_length=35)]
Subject = Annotated[str, msgspec.Meta(max_length=4096)]

SAVE_TEMPLATE = """
select t.id::text as id, t.event_type, t.channel, t.locale, t.version, t.is_active, t.created_at,
    t.subject_template as subject, t.body_template as body, t.html_template as html, t.metadata_schema
from public.save_notification_template(
    %(event_type)s, %(channel)s, %(body)s, subject => %(subject)s, html => %(html)s, locale => %(locale)s,
    metadata_schema => %(metadata_schema)s::jsonb) as t
"""
LIST_TEMPLATES = """
select distinct on (t.event_type, t.channel, t.locale)
    t.id::text as id, t.event_type, t.channel, t.locale, t.version, t.created_at
from public.notification_templates as t
where t.is_active and (%(event_type)s::text is null or t.event_type = %(event_type)s)
    and (%(after_type)s::text is null
        or (t.event_type, t.channel, t.locale) > (%(after_type)s, %(after_channel)s, %(after_locale)s))
order by t.event_type, t.channel, t.locale, t.version desc
limit %(limit)s
"""
LIST_VERSIONS = """
select t.id::text as id, t.event_type, t.channel, t.locale, t.version, t.is_active, t.created_at,
    t.subject_template as subject, t.body_template as body, t.html_template as html, t.metadata_schema
from public.notification_templates as t
where t.event_type = %(event_type)s and t.channel = %(channel)s and t.locale = %(locale)s
    and (%(before)s::integer is null or t.version < %(before)s)
order by t.version desc
limit %(limit)s
"""


class PreviewBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With `body` the texts are the request's, otherwise those of the newest active version."""

    event_type: str = "preview"
    channel: NotifyChannel = "in_app"
    locale: Locale | None = None
    subject: Subject | None = None
    body: str | None = None
    html: str | None = None
    metadata_schema: dict[str, Any] = {}
    context: dict[str, Any] = {}


class TemplateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    event_type: str
    channel: NotifyChannel
    body: str
    locale: Locale | None = None
    subject: Subject | None = None
    html: str | None = None
    metadata_schema: dict[str, Any] = {}
    context: dict[str, Any] | None = None


async def preview(call: Call) -> Response:
    """What a template makes of a context, a stored one or one that is being written."""
    asked = await read_body(call, PreviewBody, limit_bytes=_limit_bytes(call))
    locale = asked.locale or call.ctx.settings.default_locale
    if asked.body is None:
        await call.ctx.book.refresh()
        template = call.ctx.book.find(asked.event_type, asked.channel, locale)
        if template is None:
            raise _not_found(asked.event_type, asked.channel, locale)
    else:
        template = _draft(asked, asked.body, locale)
    made = await asyncio.to_thread(_try_out, template, asked.context)
    return json_response(
        {
            "event_type": template.event_type,
            "channel": template.channel,
            "locale": template.locale,
            "version": template.version if template.id else None,
            **_render_texts(made),
        }
    )


async def save_template(call: Call) -> Response:
    """201 with the new version, and with what it makes of the `context` where there is one."""
    given = await read_body(call, TemplateBody, limit_bytes=_limit_bytes(call))
    template = _draft(given, given.body, given.locale or call.ctx.settings.default_locale)
    made: Rendered | None = None
    if given.context is None:
        await asyncio.to_thread(check_template, template)
    else:
        made = await asyncio.to_thread(_try_out, template, given.context)
    saved = await _save(call, template)
    shown = {**saved, "preview": None if made is None else _render_texts(made)}
    path = f"{call.request.prefix}/templates/{template.event_type}/{template.channel}/{template.locale}"
    return json_response(shown, 201, [("location", path)])


async def list_templates(call: Call) -> Response:
    """What counts: the newest active version by event type, channel and locale, without its texts. `next` continues."""
    query = dict(call.request.query())
    after = query["after"].split("/") if query.get("after") else [None] * 3
    if len(after) != 3:
        raise NotifyError("notify_request_invalid", "after is what `next` said: event_type/channel/locale")
    limit = _read_number(query, "limit", MAX_TEMPLATES) or MAX_TEMPLATES
    asked = dict(zip(("after_type", "after_channel", "after_locale"), after, strict=True))
    rows = await _load(call, LIST_TEMPLATES, {**asked, "event_type": query.get("event_type"), "limit": limit})
    last = rows[-1] if len(rows) == limit else None
    following = None if last is None else f"{last['event_type']}/{last['channel']}/{last['locale']}"
    return json_response({"templates": rows, "next": following})


async def list_versions(call: Call, event_type: str, channel: str, locale: str) -> Response:
    """All of one template, newest first, with their texts; `before` continues after a version."""
    query = dict(call.request.query())
    before = _read_number(query, "before", 2**31 - 1)
    limit = _read_number(query, "limit", MAX_VERSIONS) or MAX_VERSIONS
    asked = {
        "event_type": event_type,
        "channel": channel,
        "locale": locale,
        "before": before,
        "limit": limit,
    }
    rows = await _load(call, LIST_VERSIONS, asked)
    if not rows and before is None:
        raise _not_found(event_type, channel, locale)
    return json_response({"versions": rows})


def _limit_bytes(call: Call) -> int:
    return call.ctx.settings.max_context_bytes + MAX_TEMPLATE_BYTES


def _draft(given: PreviewBody | TemplateBody, body: str, locale: str) -> Template:
    return Template(
        "",
        given.event_type,
        given.channel,
        locale,
        1,
        given.subject,
        body,
        given.html,
        given.metadata_schema,
    )


def _try_out(template: Template, context: Mapping[str, Any]) -> Rendered:
    check_template(template)
    return rehearse(template, context, event_type=template.event_type)


def _render_texts(made: Rendered) -> dict[str, str | None]:
    return {"subject": made.subject, "body": made.body, "html": made.html}


def _not_found(event_type: str, channel: str, locale: str) -> NotifyError:
    told = f"There is no active template {event_type:.120}/{channel:.40}/{locale:.40}"
    return NotifyError("template_not_found", told)


async def _save(call: Call, template: Template) -> Mapping[str, Any]:
    try:
        schema = orjson.dumps(template.metadata_schema).decode()
    except TypeError as exc:
        raise NotifyError("template_invalid", f"metadata_schema: {exc}") from exc
    parameters = {
        "event_type": template.event_type,
        "channel": template.channel,
        "locale": template.locale,
        "subject": template.subject,
        "body": template.body,
        "html": template.html,
        "metadata_schema": schema,
    }
    try:
        (saved,) = await _load(call, SAVE_TEMPLATE, parameters)
    except psycopg.Error as exc:
        if exc.sqlstate != "PT400":
            raise
        raise NotifyError("template_invalid", exc.diag.message_primary, hint=exc.diag.message_hint) from exc
    return saved


async def _load(call: Call, statement: LiteralString, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    try:
        async with call.ctx.pool.connection() as connection:
            return await (await connection.execute(statement, parameters)).fetchall()
    except psycopg.DataError as exc:  # a text that PostgreSQL cannot hold
        raise NotifyError("notify_request_invalid", exc.diag.message_primary or str(exc)) from exc


def _read_number(query: Mapping[str, str], name: str, most: int) -> int | None:
    text = query.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or not 1 <= int(text) <= most:
        raise NotifyError("notify_request_invalid", f"{name} is a whole number from 1 to {most}")
    return int(text)
