"""The notification engine: something happened, and the people it concerns are told by the ways they want.

An event (`public.issue_notification(…)` from SQL, REST, a function or the notify API) becomes one row of
`notification_queue` per person, channel and address (`planning`: templates, preferences, quiet hours, digests). The
`Dispatcher`, a part of the worker, claims rows that are due, hands them to a provider (`senders`) in batches and writes
down each attempt in `notification_deliveries`; a channel that fails for good is followed by the next one. Providers'
webhooks tell later what became of a message (`reports`). `expansion` goes through events for many people page by page.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from basalt.notify.errors import NotifyError, TemplateError

if TYPE_CHECKING:
    from basalt.notify.dispatcher import Dispatcher
    from basalt.notify.inspection import (
        cancel_event,
        list_events,
        load_stats,
        resend_event,
        resend_message,
        show_event,
        show_message,
    )
    from basalt.notify.jobs import NotifyJobs
    from basalt.notify.outflow import Ways
    from basalt.notify.service import NotifyService
    from basalt.notify.signed import is_signed
    from basalt.notify.template_book import Template, TemplateBook
    from basalt.notify.templates import Rendered, build_variables, render

__all__ = [
    "Dispatcher",
    "NotifyError",
    "NotifyJobs",
    "NotifyService",
    "Rendered",
    "Template",
    "TemplateBook",
    "TemplateError",
    "Ways",
    "build_variables",
    "cancel_event",
    "is_signed",
    "list_events",
    "load_stats",
    "render",
    "resend_event",
    "resend_message",
    "show_event",
    "show_message",
]

# Loaded when they are asked for: templates bring Jinja and jsonschema along, and most projects have no notifications.
ELSEWHERE = {
    "show_message": "basalt.notify.inspection",
    "show_event": "basalt.notify.inspection",
    "resend_message": "basalt.notify.inspection",
    "resend_event": "basalt.notify.inspection",
    "load_stats": "basalt.notify.inspection",
    "list_events": "basalt.notify.inspection",
    "cancel_event": "basalt.notify.inspection",
    "Dispatcher": "basalt.notify.dispatcher",
    "NotifyJobs": "basalt.notify.jobs",
    "NotifyService": "basalt.notify.service",
    "Rendered": "basalt.notify.templates",
    "Template": "basalt.notify.template_book",
    "Ways": "basalt.notify.outflow",
    "TemplateBook": "basalt.notify.template_book",
    "build_variables": "basalt.notify.templates",
    "is_signed": "basalt.notify.signed",
    "render": "basalt.notify.templates",
}


def __getattr__(name: str) -> object:
    if name in ELSEWHERE:
        return getattr(import_module(ELSEWHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
