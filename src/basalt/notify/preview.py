"""`POST /notify/v1/preview`: a template as a recipient would see it, a stored one or one that is being written."""

import asyncio
from typing import Annotated, Any

import msgspec

from basalt.http import Response, json_response
from basalt.notify.call import Call, read_body
from basalt.notify.errors import NotifyError
from basalt.notify.events_api import NOBODY, sample_recipient
from basalt.notify.preferences import NotifyChannel
from basalt.notify.templates import Template, build_variables, check_template, check_variables, render

MAX_TEMPLATE_BYTES = 512 * 1024


class PreviewBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With `body` the texts are the request's, otherwise those of the newest active version."""

    event_type: str = "preview"
    channel: NotifyChannel = "in_app"
    locale: Annotated[str, msgspec.Meta(max_length=35)] | None = None
    subject: str | None = None
    body: str | None = None
    html: str | None = None
    metadata_schema: dict[str, Any] = {}
    context: dict[str, Any] = {}


async def preview(call: Call) -> Response:
    asked = await read_body(
        call, PreviewBody, limit_bytes=call.ctx.settings.max_context_bytes + MAX_TEMPLATE_BYTES
    )
    locale = asked.locale or call.ctx.settings.default_locale
    if asked.body is None:
        await call.ctx.book.refresh()
        template = call.ctx.book.find(asked.event_type, asked.channel, locale)
        if template is None:
            raise NotifyError(
                "template_not_found",
                f"There is no active template {asked.event_type:.120}/{asked.channel}/{locale:.40}",
            )
    else:
        template = Template(
            "",
            asked.event_type,
            asked.channel,
            locale,
            1,
            asked.subject,
            asked.body,
            asked.html,
            asked.metadata_schema,
        )
    return json_response(await asyncio.to_thread(_render, template, asked))


def _render(template: Template, asked: PreviewBody) -> dict[str, object]:
    check_template(template)
    check_variables(template, asked.context)
    variables = build_variables(
        asked.context,
        event_id=NOBODY,
        event_type=asked.event_type,
        recipient=sample_recipient(template.locale),
    )
    made = render(template, variables)
    return {
        "event_type": template.event_type,
        "channel": template.channel,
        "locale": template.locale,
        "version": template.version if template.id else None,
        "subject": made.subject,
        "body": made.body,
        "html": made.html,
    }
