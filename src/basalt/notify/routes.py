"""The routes under `/notify/v1`. Access `admin` is the secret key or a token of service_role, `signed` a provider's
signature."""

from basalt.http import Route, RouteTable
from basalt.late import LateFunction
from basalt.notify.webhooks import take_reports

# Whose modules bring Jinja and jsonschema along.
EVENTS, TEMPLATES = "basalt.notify.events_api", "basalt.notify.templates_api"

ROUTES = RouteTable(
    [
        Route("POST", "/events", "admin", LateFunction(EVENTS, "issue_event")),
        Route("GET", "/events/{event_id}", "admin", LateFunction(EVENTS, "show_event")),
        Route("POST", "/preview", "admin", LateFunction(TEMPLATES, "preview")),
        Route("GET", "/templates", "admin", LateFunction(TEMPLATES, "list_templates")),
        Route("POST", "/templates", "admin", LateFunction(TEMPLATES, "save_template")),
        Route(
            "GET",
            "/templates/{event_type}/{channel}/{locale}",
            "admin",
            LateFunction(TEMPLATES, "list_versions"),
        ),
        Route("POST", "/webhooks/{provider}", "signed", take_reports),
    ]
)
