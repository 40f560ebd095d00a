"""Which log a restore reads: the backup's own and the archive's, along one history of timelines, as far as it goes."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from basalt.postgres.backup import (
    Gap,
    Piece,
    WalFolder,
    cut_at_branches,
    find_gap,
    parse_history,
    reach_of,
    render_lsn,
)
from basalt.project.backup.errors import BackupError
from basalt.project.backup.files import Shelf
from basalt.project.backup.manifest import LogRange, Manifest
from basalt.project.backup.progress import Progress, Tell
from basalt.project.backup.wal_shelf import ArchivePosition, StoredPiece, WalShelf, ancestors_of

FETCHED_AT_ONCE: Final = 8


@dataclass(frozen=True)
class LogPlan:
    """`parts`: stored pieces, each with what of it belongs to the history. `branches`: timelines above the backup's
    with the positions at which they begin."""

    timeline: int
    parts: list[tuple[StoredPiece, Piece]]
    branches: list[tuple[int, int]]
    histories: dict[int, bytes]
    reach: int
    gap: Gap | None
    position: ArchivePosition | None


def plan_log(
    shelf: Shelf, manifest: Manifest, *, own_only: bool = False, timeline: int | None = None
) -> LogPlan:
    """`timeline` is by default the newest that descends from the backup's. Raises BackupError when the log of the
    backup itself is not there."""
    log = manifest.log
    assert log is not None
    own = WalShelf(shelf, f"{manifest.folder}wal/")
    archive = WalShelf.of_system(shelf, log.system_id)
    stored = own.list() if own_only else [*own.list(), *archive.list()]
    histories = {**archive.read_histories(), **own.read_histories()}
    chosen = log.timeline if own_only else (timeline or _newest(log, histories))
    if chosen != log.timeline and chosen not in histories:
        raise BackupError("restore_not_possible", reason=f"The archived log has no timeline {chosen}")
    ancestors = ancestors_of(chosen, histories)
    by_piece = {one.piece: one for one in stored}
    cut = cut_at_branches(by_piece, chosen, ancestors, log.start)
    parts = [part for _, part in cut]
    reach = reach_of(parts, log.start)
    if reach < log.check or reach < log.stop:
        end = render_lsn(max(log.check, log.stop))
        raise BackupError("wal_gap", start=render_lsn(reach), end=end, hint="This backup cannot be restored")
    return LogPlan(
        timeline=chosen,
        parts=[(by_piece[piece], part) for piece, part in cut],
        branches=_branches(log.timeline, chosen, ancestors),
        histories=histories,
        reach=reach,
        gap=find_gap(parts, log.start),
        position=None if own_only else archive.read_position(),
    )


def gap_error(gap: Gap) -> BackupError:
    return BackupError("wal_gap", start=render_lsn(gap.start), end=render_lsn(gap.end))


def fetch_log(shelf: Shelf, plan: LogPlan, folder: Path, tell: Tell) -> None:
    """The files for recovery. A day of log is thousands of small pieces: several are under way at once."""
    files, writing = WalFolder(folder), threading.Lock()
    for timeline, text in plan.histories.items():
        files.add_history(timeline, text)
    progress = Progress(tell, "Log", total=sum(part.end - part.start for _, part in plan.parts))

    def fetch(piece: tuple[StoredPiece, Piece]) -> int:
        stored, part = piece
        data = shelf.read(stored.file.name)
        first, size = part.start - stored.piece.start, part.end - part.start
        with writing:
            files.add(part, data[first : first + size], branches=plan.branches)
        return size

    with ThreadPoolExecutor(FETCHED_AT_ONCE, thread_name_prefix="log") as pool:
        for size in pool.map(fetch, plan.parts):
            progress.add(size)
    progress.end()


def covers(plan: LogPlan, moment: datetime) -> bool:
    """Whether all that was committed before is archived, although nothing was committed after it."""
    position = plan.position
    return (
        plan.gap is None
        and position is not None
        and position.at >= moment
        and position.timeline == plan.timeline
        and position.position <= plan.reach
    )


def _newest(log: LogRange, histories: dict[int, bytes]) -> int:
    """A timeline that left the backup's before the backup was complete is none of its history."""
    descending = [
        timeline
        for timeline, text in histories.items()
        if any(
            before == log.timeline and left >= max(log.stop, log.check)
            for before, left in parse_history(text)
        )
    ]
    return max([log.timeline, *descending])


def _branches(own: int, chosen: int, ancestors: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """
    >>> _branches(1, 3, [(1, 100), (2, 200)])
    [(2, 100), (3, 200)]
    """
    timelines = [timeline for timeline, _ in ancestors] + [chosen]
    begins = dict(zip(timelines[1:], (left for _, left in ancestors), strict=False))
    return [(timeline, begin) for timeline, begin in begins.items() if timeline > own]
