"""The standings of a running period, cached for an hour under `leaderboard:PERIOD`."""

from typing import Any

from basalt.functions import Context

TTL_S = 3600
TOP = """
select rank, position, display_name, points_earned, gigs_completed, hours_worked, updated_at
from public.get_leaderboard(%(period)s, 100)
"""


async def read_standings(context: Context, period: str) -> Any:
    """The first hundred; read from the table by one caller at a time when they are not in the cache."""
    return await context.cache.fetch_or_compute(
        f"leaderboard:{period}", lambda: _load(context, period), ttl_s=TTL_S
    )


async def renew_standings(context: Context, period: str) -> None:
    """After a refresh: what is cached is what was just computed."""
    await context.cache.store(f"leaderboard:{period}", await _load(context, period), ttl_s=TTL_S)


async def _load(context: Context, period: str) -> list[dict[str, Any]]:
    rows = await context.service_db.fetch_all(TOP, {"period": period})
    return [
        {**row, "hours_worked": float(row["hours_worked"]), "updated_at": row["updated_at"].isoformat()}
        for row in rows
    ]
