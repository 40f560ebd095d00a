"""What operators ask of a project's objects, whether it runs or not."""

import asyncio
from dataclasses import replace

from basalt.config import Settings
from basalt.postgres import DatabaseAccess
from basalt.storage.back_ends import open_back_ends
from basalt.storage.check import CheckReport, check_store
from basalt.storage.collector import Ages, Collected, collect, configured_ages


def collect_project(
    settings: Settings, access: DatabaseAccess, *, is_dry: bool = False, age_s: float | None = None
) -> Collected:
    """Take away what no row names. `age_s` is the age of deleted bytes and of those without a row, instead of the
    settings'. Raises BasaltError."""
    ages = configured_ages(settings.basalt.storage)
    if age_s is not None:
        ages = replace(ages, deleted_s=age_s, orphan_s=age_s)
    return asyncio.run(_collect(settings, access, ages, is_dry=is_dry))


def check_project(settings: Settings, access: DatabaseAccess, *, checksums: bool = False) -> CheckReport:
    """Compare rows and bytes. Raises BasaltError."""
    return asyncio.run(_check(settings, access, checksums=checksums))


async def _collect(settings: Settings, access: DatabaseAccess, ages: Ages, *, is_dry: bool) -> Collected:
    async with open_back_ends(settings, access) as (db, store):
        return await collect(db, store, ages, is_dry=is_dry)


async def _check(settings: Settings, access: DatabaseAccess, *, checksums: bool) -> CheckReport:
    async with open_back_ends(settings, access) as (db, store):
        return await check_store(db, store, checksums=checksums)
