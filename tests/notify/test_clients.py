"""The engine as an app's screens see it, through the official client."""

import pytest

from tests.contract.conftest import run_steps
from tests.server import Server


@pytest.mark.req("H22", "H26", "H14")
def test_an_apps_notification_screens(notified: Server) -> None:
    run_steps("notifications.mjs", notified)
