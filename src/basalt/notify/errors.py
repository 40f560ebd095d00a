"""The errors of the notification engine: what its API answers, and why an event fails in the worker.

Code → status → message. `public.issue_notification` raises the same statuses as SQLSTATE `PT400`, `PT404`, `PT413`.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from basalt.errors import BasaltError


class Entry(NamedTuple):
    status: int
    message: str


ERRORS: Final[Mapping[str, Entry]] = {
    "event_invalid": Entry(400, "The event is not valid"),
    "event_too_large": Entry(413, "The event is larger than the limit"),
    "event_not_found": Entry(404, "There is no such event"),
    "event_queue_full": Entry(429, "The queue is full"),
    "event_recipient_not_found": Entry(404, "Whom the event is about or for is not there"),
    "message_not_found": Entry(404, "There is no such message"),
    "message_in_app": Entry(400, "The message was shown in the app, and is there"),
    "notify_off": Entry(409, "The project has no notifications: [notify] enabled is false"),
    "event_type_not_found": Entry(404, "No active template has this event type"),
    "template_not_found": Entry(404, "There is no such template"),
    "template_invalid": Entry(400, "The template cannot be read"),
    "template_failed": Entry(400, "The template cannot be rendered with these variables"),
    "template_variable_missing": Entry(400, "A variable of the template is missing"),
    "template_variables_invalid": Entry(400, "The variables do not fit the template's schema"),
    "template_too_long": Entry(400, "What the template makes is longer than the limit"),
    "template_too_slow": Entry(400, "The template does more than one message may cost"),
    "notify_forbidden": Entry(403, "This needs the secret key or a token of service_role"),
    "notify_route_not_found": Entry(404, "The notification API has no such route"),
    "notify_request_invalid": Entry(400, "The request is not valid"),
    "notify_busy": Entry(503, "The database cannot be asked now"),
    "report_provider_not_found": Entry(404, "No reports of this provider are taken here"),
    "report_forged": Entry(401, "The signature of the report is missing or wrong"),
    "report_invalid": Entry(400, "This is no report of the provider"),
}


class NotifyError(BasaltError):
    """An error of the catalogue; its message unless something better is known here."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        details: object = None,
        hint: str | None = None,
    ) -> None:
        entry = ERRORS[code]
        super().__init__(code, entry.status, message or entry.message, details=details, hint=hint)


class TemplateError(NotifyError):
    """A template that cannot be read or rendered. `variable` is what is missing, where that is the reason."""

    def __init__(self, code: str, message: str, *, variable: str | None = None) -> None:
        super().__init__(code, message, details=None if variable is None else {"variable": variable})
        self.variable = variable
