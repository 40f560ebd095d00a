"""A part of the worker that makes a backup when `basalt.backup.schedule` says so; once over all nodes."""

import asyncio
from datetime import timedelta
from typing import Final

import psycopg

from basalt import observe
from basalt.config import CronLine, Settings, parse_cron_line
from basalt.errors import BasaltError
from basalt.jobs import find_next_tick
from basalt.postgres import DatabaseAccess
from basalt.project.backup.create import create_backup
from basalt.project.backup.errors import BackupError
from basalt.project.backup.place import open_place
from basalt.project.backup.progress import Tell
from basalt.project.backup.records import Overview, connect, read_overview
from basalt.waiting import wait_within

POLL_S: Final = 20.0
AGAIN_AFTER: Final = timedelta(minutes=10)


class BackupScheduler:
    """Whoever finds a backup due makes it, under a lock of the database."""

    name = "backups"

    def __init__(self, settings: Settings, access: DatabaseAccess, *, poll_s: float = POLL_S) -> None:
        assert settings.basalt.backup.schedule is not None
        self._settings = settings
        self._access = access
        self._line = parse_cron_line(settings.basalt.backup.schedule)
        self._poll_s = poll_s

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            pause_s = self._poll_s
            try:
                await asyncio.to_thread(self._make_if_due, stopping)
            except BasaltError as error:
                if error.code not in ("backup_running", "backup_interrupted"):
                    observe.event("scheduled_backup_failed", level="error", reason=error.message)
                    pause_s = AGAIN_AFTER.total_seconds()
            except psycopg.Error as error:
                observe.event("scheduled_backup_postponed", level="warning", reason=str(error).strip())
            await wait_within(stopping, pause_s)

    def _make_if_due(self, stopping: asyncio.Event) -> None:
        with connect(self._access) as connection:
            overview = read_overview(connection)
        if is_due(self._line, overview):
            shelf = open_place(self._settings, may_write=True)
            create_backup(self._settings, self._access, shelf, _ending_with(stopping))


def _ending_with(stopping: asyncio.Event) -> Tell:
    """Nobody listens; every few seconds of work it is asked whether to go on."""

    def tell(_: str) -> None:
        if stopping.is_set():
            raise BackupError("backup_interrupted")

    return tell


def is_due(line: CronLine, overview: Overview) -> bool:
    """The first backup at once, the next by the schedule or when the archived log has a gap since; one that failed is
    tried again after a while."""
    if overview.failed_at is not None and overview.now - overview.failed_at < AGAIN_AFTER:
        return False
    if overview.complete_at is None:
        return True
    if overview.gap_at is not None and overview.gap_at > overview.complete_at:
        return True
    following = find_next_tick(line, "UTC", after=overview.complete_at, anchor=overview.complete_at)
    return following is not None and following <= overview.now
