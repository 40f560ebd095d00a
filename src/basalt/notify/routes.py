"""The routes under `/notify/v1`. Access `admin` is the secret key or a token of service_role, `signed` a provider's
signature."""

from basalt.http import Route, RouteTable
from basalt.notify.events_api import issue_event, show_event
from basalt.notify.templates_api import list_templates, list_versions, preview, save_template
from basalt.notify.webhooks import take_reports

ROUTES = RouteTable(
    [
        Route("POST", "/events", "admin", issue_event),
        Route("GET", "/events/{event_id}", "admin", show_event),
        Route("POST", "/preview", "admin", preview),
        Route("GET", "/templates", "admin", list_templates),
        Route("POST", "/templates", "admin", save_template),
        Route("GET", "/templates/{event_type}/{channel}/{locale}", "admin", list_versions),
        Route("POST", "/webhooks/{provider}", "signed", take_reports),
    ]
)
