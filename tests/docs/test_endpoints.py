"""Every route appears in the reference."""

from pathlib import Path

from basalt.auth.routes import ROUTES

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "endpoints.md"


def test_every_route_of_auth_is_described() -> None:
    page = PAGE.read_text("utf-8")
    missing = [
        f"{route.method} {route.path}"
        for route in ROUTES.routes
        if f"| `{route.method} {route.path}` | {route.access} |" not in page
    ]
    assert not missing
