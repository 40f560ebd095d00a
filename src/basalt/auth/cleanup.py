"""What Auth no longer needs is deleted while it runs: a batch a minute, more while there is more.

Any number of gateways may do so at once; the routine passes over what another one holds.
"""

import asyncio
import random
from typing import Final

from basalt import observe
from basalt.config import AuthSettings
from basalt.postgres import LanePool, LanesUnavailable, PostgresError, Query

BATCH: Final = 200
EVERY_S: Final = 60.0
PAUSE_S: Final = 1.0

CLEAN_UP: Final = "select basalt.clean_up_auth($1, $2, $3, $4)"


async def keep_clean(lanes: LanePool, settings: AuthSettings) -> None:
    """Until cancelled. A failure is logged and tried again."""
    while True:
        await asyncio.sleep(EVERY_S * random.uniform(0.5, 1.5))  # noqa: S311
        await _clean_all(lanes, settings)


async def _clean_all(lanes: LanePool, settings: AuthSettings) -> None:
    try:
        while await clean_up(lanes, settings) >= BATCH:  # noqa: ASYNC110 - there is more to do, nothing to wait for
            await asyncio.sleep(PAUSE_S)
    except (PostgresError, LanesUnavailable) as error:
        observe.event("auth_cleanup_failed", level="warning", error=error)


async def clean_up(lanes: LanePool, settings: AuthSettings) -> int:
    """One batch of each kind; how many rows went."""
    days = settings.anonymous_user_retention_days if settings.enable_anonymous_sign_ins else 0
    params = (
        b"%d" % BATCH,
        b"%f" % settings.sessions.timebox_s,
        b"%f" % settings.sessions.inactivity_timeout_s,
        b"%d" % days,
    )
    [result] = await lanes.execute([Query(CLEAN_UP, params)], own_lane=True)
    return int(result.rows[0][0] or 0)
