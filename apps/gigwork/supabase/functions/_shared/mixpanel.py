"""Mixpanel: one event by `/track` (https://developer.mixpanel.com/reference/track-event)."""

from collections.abc import Mapping
from typing import Any

import httpx2

from basalt.functions import RetryJob

API_URL = "https://api.mixpanel.com"
TIMEOUT_S = 10

_http = httpx2.AsyncClient(timeout=TIMEOUT_S)


async def track(
    env: Mapping[str, str],
    event: str,
    properties: Mapping[str, Any],
    *,
    user_id: str,
    time_ms: int,
    insert_id: str,
) -> None:
    """Mixpanel drops a second event with the same `insert_id`, so that a repeated call counts once. Raises RetryJob."""
    answer = await _http.post(
        f"{env.get('MIXPANEL_API_URL', API_URL)}/track",
        params={"verbose": "1"},
        json=[
            {
                "event": event,
                "properties": {
                    **properties,
                    "token": env["MIXPANEL_PROJECT_TOKEN"],
                    "distinct_id": user_id,
                    "time": time_ms,
                    "$insert_id": insert_id,
                },
            }
        ],
    )
    if answer.status_code == 429 or answer.status_code >= 500:
        raise RetryJob(f"Mixpanel answered {answer.status_code}")
    if answer.status_code != 200 or answer.json().get("status") != 1:
        raise RuntimeError(f"Mixpanel refused the event: {answer.status_code} {answer.text[:200]}")
