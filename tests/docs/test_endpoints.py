"""Every route appears in the reference."""

from pathlib import Path

from basalt.auth.routes import ROUTES
from basalt.http import RouteTable
from basalt.notify.routes import ROUTES as NOTIFY_ROUTES
from basalt.realtime.api import ROUTES as REALTIME_ROUTES
from basalt.storage.api import ROUTES as STORAGE_ROUTES

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "endpoints.md"


def missing_in_page(routes: RouteTable) -> list[str]:
    page = PAGE.read_text("utf-8")
    return [
        f"{route.method} {route.path}"
        for route in routes.routes
        if f"| `{route.method} {route.path}` | {route.access} |" not in page
    ]


def test_every_route_of_auth_is_described() -> None:
    assert not missing_in_page(ROUTES)


def test_every_route_of_realtime_is_described() -> None:
    assert not missing_in_page(REALTIME_ROUTES)


def test_every_route_of_storage_is_described() -> None:
    assert not missing_in_page(STORAGE_ROUTES)


def test_every_route_of_notifications_is_described() -> None:
    assert not missing_in_page(NOTIFY_ROUTES)
