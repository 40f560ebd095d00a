"""The routes under `/notify/v1`. Access `admin` is the secret key or a token of service_role, `signed` a provider's
signature."""

from basalt.http import Route, RouteTable
from basalt.notify.events_api import issue_event, show_event
from basalt.notify.preview import preview
from basalt.notify.webhooks import take_reports

ROUTES = RouteTable(
    [
        Route("POST", "/events", "admin", issue_event),
        Route("GET", "/events/{event_id}", "admin", show_event),
        Route("POST", "/preview", "admin", preview),
        Route("POST", "/webhooks/{provider}", "signed", take_reports),
    ]
)
