"""`basalt backup restore`: a project's state as it was at a moment, from the target.

Everything is made in a folder beside the project's, which takes its place in one step when the database has recovered
and its objects are there. What was there before is kept, moved aside.
"""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from basalt.config import Settings
from basalt.postgres.backup import RecoveryError, RecoveryTarget, recovered_server
from basalt.project.backup.building import building_beside
from basalt.project.backup.errors import BackupError, render_time
from basalt.project.backup.files import Shelf
from basalt.project.backup.history import LogPlan, covers, fetch_log, gap_error, plan_log
from basalt.project.backup.keys import unpack_keys
from basalt.project.backup.manifest import LogRange, Manifest, find_backup, list_backups
from basalt.project.backup.objects import bring_objects
from basalt.project.backup.progress import Tell
from basalt.project.backup.unpack import Unpacked, unpack_cluster, write_private


@dataclass(frozen=True)
class RestoreRequest:
    """`backup_id` is by default the newest that will do. `to` is the newest state that is archived, the one that the
    backup shows, or that at a moment."""

    backup_id: str | None = None
    to: Literal["latest", "backup"] | datetime = "latest"
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
    plan = plan_restore(shelf, manifest, request)
    tell(f"Restoring {manifest.id}, made {render_time(manifest.created_at)}")
    with building_beside(settings, "restoring") as building:
        unpacked = unpack_cluster(building, shelf, manifest, tell)
        with recovering(shelf, manifest.log, plan, unpacked, request, tell) as conninfo:
            objects, missing = bring_objects(building, shelf, conninfo, tell)
        shutil.rmtree(unpacked.wal_dir)
        _write_project(settings, unpacked.keys)
        aside = _swap(building.state_dir, settings.state_dir)
    return Restored(manifest, objects, missing, aside)


def is_in_use(settings: Settings) -> bool:
    """Whether the project has anything that a restore would take the place of."""
    return any((settings.state_dir / name).exists() for name in ("database.json", "keys.json", "storage"))


def choose_backup(shelf: Shelf, request: RestoreRequest) -> Manifest:
    """The backup asked for; else the newest, and for a moment the newest that was complete by then."""
    moment = request.to if isinstance(request.to, datetime) else None
    if moment is not None and moment > datetime.now(UTC):
        raise BackupError("restore_not_possible", reason=f"{render_time(moment)} has not come yet")
    if request.backup_id is not None:
        found = find_backup(shelf, request.backup_id)
        if moment is not None and moment < found.created_at:
            reason = f"Backup {found.id} shows {render_time(found.created_at)}, which is after the moment"
            raise BackupError("restore_not_possible", reason=reason)
        return found
    backups = list_backups(shelf)
    if not backups:
        raise BackupError("backup_none", place=shelf.place)
    before = [backup for backup in backups if moment is None or backup.created_at <= moment]
    if not before:
        assert moment is not None
        oldest = render_time(backups[0].created_at)
        raise BackupError("backup_none_before", place=shelf.place, time=render_time(moment), oldest=oldest)
    return before[-1]


def plan_restore(shelf: Shelf, manifest: Manifest, request: RestoreRequest) -> LogPlan:
    """Before anything is read or made. Raises BackupError where the log cannot do."""
    plan = plan_log(shelf, manifest, own_only=request.to == "backup", timeline=request.timeline)
    if plan.gap is not None and request.to == "latest":
        raise gap_error(plan.gap)
    return plan


@contextmanager
def recovering(
    shelf: Shelf, log: LogRange, plan: LogPlan, unpacked: Unpacked, request: RestoreRequest, tell: Tell
) -> Iterator[str]:
    """The recovered server, running; yields its superuser's connection string. Raises BackupError, RecoveryError."""
    fetch_log(shelf, plan, unpacked.wal_dir, tell)
    unpacked.own()
    tell("Recovering the database")
    moment = request.to if isinstance(request.to, datetime) else None
    position = log.check if request.to == "backup" else None
    with ExitStack() as stack:
        try:
            target = RecoveryTarget(timeline=plan.timeline, position=position, time=moment)
            conninfo = stack.enter_context(_server(unpacked, target))
        except RecoveryError as exc:
            if not exc.ended_early or moment is None:
                raise
            _check_reach(plan, moment)
            conninfo = stack.enter_context(_server(unpacked, RecoveryTarget(timeline=plan.timeline)))
        yield conninfo


def _server(unpacked: Unpacked, target: RecoveryTarget) -> AbstractContextManager[str]:
    return recovered_server(
        unpacked.install, unpacked.data_dir, unpacked.user, wal_dir=unpacked.wal_dir, target=target
    )


def _check_reach(plan: LogPlan, moment: datetime) -> None:
    """Nothing was committed after the moment: the end of the log shows it, if the log is known to go so far."""
    if plan.gap is not None:
        raise gap_error(plan.gap)
    if not covers(plan, moment):
        end = render_time(plan.position.at) if plan.position is not None else "the end of the backup"
        raise BackupError("wal_ends_early", end=end, time=render_time(moment))


def _write_project(settings: Settings, keys: bytes) -> None:
    """Its files, where it has none: what is in version control counts more."""
    if settings.supabase_dir.exists():
        return
    root = settings.project_dir.resolve()
    for name, data in unpack_keys(keys).items():
        path = root / name.removeprefix("project/")
        if name.startswith("project/") and path.resolve().is_relative_to(root) and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(path, data)


def _swap(building: Path, state_dir: Path) -> Path | None:
    """Returns where the earlier state is now; None where there was none."""
    if not any(entry.name != "run" for entry in _entries(state_dir)):
        shutil.rmtree(state_dir, ignore_errors=True)
        building.rename(state_dir)
        return None
    aside = state_dir.with_name(f"{state_dir.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    state_dir.rename(aside)
    try:
        building.rename(state_dir)
    except OSError:
        aside.rename(state_dir)
        raise
    return aside


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []
