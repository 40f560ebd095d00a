"""`basalt backup restore`: a project's state as it was at a moment, from the target.

Everything is made in a folder beside the project's, which takes its place in one step when the database has recovered
and its objects are there. What was there before is kept, moved aside.
"""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from basalt.config import Settings
from basalt.postgres.backup import RecoveryError, RecoveryTarget, list_objects, recovered_server
from basalt.project.backup.errors import BackupError
from basalt.project.backup.files import Shelf
from basalt.project.backup.history import LogPlan, covers, fetch_log, plan_log
from basalt.project.backup.keys import unpack_keys
from basalt.project.backup.manifest import Manifest, find_backup, list_backups
from basalt.project.backup.objects import bring_objects
from basalt.project.backup.progress import Progress, Tell
from basalt.project.backup.unpack import Unpacked, unpack_cluster
from basalt.storage import build_store


@dataclass(frozen=True)
class RestoreRequest:
    """`backup_id` is by default the newest that will do. Without `time` the state is the newest that is archived, or
    with `own_only` the one that the backup shows."""

    backup_id: str | None = None
    time: datetime | None = None
    own_only: bool = False
    timeline: int | None = None


@dataclass(frozen=True)
class Restored:
    """`aside` is where the earlier state is now; `missing_objects` are rows whose bytes are not at the target."""

    manifest: Manifest
    objects: int
    missing_objects: int
    aside: Path | None


def restore_backup(settings: Settings, shelf: Shelf, request: RestoreRequest, tell: Tell) -> Restored:
    """Nothing holds the project, or the caller does. Raises BackupError and RecoveryError, with the project as it
    was."""
    manifest = choose_backup(shelf, request)
    if manifest.log is None:
        raise BackupError("restore_not_possible", reason="The backup is a dump of an external database")
    building = beside(settings, "restoring")
    tell(f"Restoring {manifest.id}, made {manifest.created_at:%Y-%m-%d %H:%M:%SZ}")
    with unpack_cluster(building, shelf, manifest, tell) as unpacked:
        with recovering(shelf, manifest, unpacked, request, tell) as conninfo:
            objects, missing = _bring_objects(building, shelf, conninfo, tell)
        _write_keys(building, settings, unpacked)
        aside = _swap(building.state_dir, settings.state_dir)
    return Restored(manifest, objects, missing, aside)


def beside(settings: Settings, purpose: str) -> Settings:
    """The same project with a new state folder. Its name is new each time, for a cluster outside of it is named after
    it."""
    name = f"{settings.state_dir.name}.{purpose}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    return replace(settings, state_dir=settings.state_dir.with_name(name))


def is_in_use(settings: Settings) -> bool:
    """Whether the project has anything that a restore would take the place of."""
    return any((settings.state_dir / name).exists() for name in ("database.json", "keys.json", "storage"))


def choose_backup(shelf: Shelf, request: RestoreRequest) -> Manifest:
    """The backup asked for; else the newest, and for a moment the newest that was complete by then."""
    if request.backup_id is not None:
        return find_backup(shelf, request.backup_id)
    backups = list_backups(shelf)
    if not backups:
        raise BackupError("backup_none", place=shelf.place)
    if request.time is None:
        return backups[-1]
    before = [backup for backup in backups if backup.created_at <= request.time]
    if not before:
        raise BackupError(
            "backup_none_before",
            place=shelf.place,
            time=f"{request.time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            oldest=f"{backups[0].created_at:%Y-%m-%dT%H:%M:%SZ}",
        )
    return before[-1]


@contextmanager
def recovering(
    shelf: Shelf, manifest: Manifest, unpacked: Unpacked, request: RestoreRequest, tell: Tell
) -> Iterator[str]:
    """The recovered server, running; yields its superuser's connection string. Raises BackupError, RecoveryError."""
    assert manifest.log is not None
    plan = plan_log(shelf, manifest, own_only=request.own_only, timeline=request.timeline)
    if plan.gap is not None and request.time is None and not request.own_only:
        start, _, end = plan.gap.partition(" to ")
        raise BackupError("wal_gap", start=start, end=end)
    fetch_log(shelf, plan, unpacked.wal_dir, tell)
    unpacked.own()
    tell("Recovering the database")
    target = RecoveryTarget(
        timeline=plan.timeline,
        position=manifest.log.check if request.own_only else None,
        time=None if request.own_only else request.time,
    )
    with ExitStack() as stack:
        try:
            conninfo = stack.enter_context(_server(unpacked, target))
        except RecoveryError as exc:
            if not exc.ended_early or request.time is None:
                raise
            _check_reach(plan, request.time)
            conninfo = stack.enter_context(_server(unpacked, RecoveryTarget(timeline=plan.timeline)))
        yield conninfo


def _server(unpacked: Unpacked, target: RecoveryTarget) -> AbstractContextManager[str]:
    return recovered_server(
        unpacked.install, unpacked.data_dir, unpacked.user, wal_dir=unpacked.wal_dir, target=target
    )


def _check_reach(plan: LogPlan, time: datetime) -> None:
    """Nothing was committed after the moment: the end of the log shows it, if the log is known to go so far."""
    if not covers(plan, time):
        at = plan.position.at if plan.position is not None else None
        end = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if at is not None else "the end of the backup"
        raise BackupError("wal_ends_early", end=end, time=f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")


def _bring_objects(settings: Settings, shelf: Shelf, conninfo: str, tell: Tell) -> tuple[int, int]:
    """How many rows name bytes, and how many of these are not at the target."""
    with psycopg.connect(conninfo) as connection:
        wanted = list_objects(connection)
    progress = Progress(tell, "Objects", total=sum(max(size, 0) for _, size in wanted))
    missing = asyncio.run(_bring(settings, shelf, [version for version, _ in wanted], progress))
    progress.end()
    return len(wanted), len(missing)


async def _bring(settings: Settings, shelf: Shelf, versions: list[str], progress: Progress) -> list[str]:
    store = build_store(settings)
    await store.open()
    try:
        return await bring_objects(shelf, store, versions, progress.add)
    finally:
        await store.close()


def _write_keys(building: Settings, settings: Settings, unpacked: Unpacked) -> None:
    """The settings only where the project has none: what is in version control counts more."""
    has_settings = (settings.supabase_dir / "config.toml").exists()
    for name, data in unpack_keys(unpacked.keys).items():
        place, _, rest = name.partition("/")
        if place == "project" and not has_settings:
            path = settings.project_dir / rest
            if path.resolve().is_relative_to(settings.project_dir.resolve()):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)


def _swap(building: Path, state_dir: Path) -> Path | None:
    aside: Path | None = None
    if not any(entry.name != "run" for entry in _entries(state_dir)):
        shutil.rmtree(state_dir, ignore_errors=True)
    else:
        aside = state_dir.with_name(f"{state_dir.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        state_dir.rename(aside)
    building.rename(state_dir)
    return aside


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []
