"""A part of the worker that sends the log of the private cluster to the target as it is written.

Every `basalt.backup.wal_interval` seconds what has come goes out as one piece, and before it the bytes of the objects
that it names. Only what is at the target is confirmed, so that PostgreSQL keeps the rest: a target that is away or full
costs disk space up to `max_slot_wal_keep_size` (4 GB) and no write. Beyond that PostgreSQL lets go of the log, which is
a gap: told, recorded, and closed by a new backup. Of several workers one archives; the slot sees to that.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import psycopg

from basalt import observe
from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess
from basalt.postgres.backup import (
    ARCHIVE_SLOT,
    DROP_SLOT,
    TRACK,
    Piece,
    SystemIdentity,
    WalRemovedError,
    WalStream,
    parse_history,
    parse_lsn,
    render_lsn,
)
from basalt.project.backup.files import CHUNK_BYTES, Shelf
from basalt.project.backup.objects import ObjectFiles, list_object_files, open_store, send_objects
from basalt.project.backup.place import open_place
from basalt.project.backup.records import NOTE_GAP, connect
from basalt.project.backup.wal_shelf import ArchivePosition, WalShelf
from basalt.storage import ContentMissingError, Store

PIECE_BYTES: Final = 16 * 1024 * 1024
POLL_S: Final = 0.5
POSITION_S: Final = 60.0
FINISH_S: Final = 2.0  # for the rest of the log when told to stop
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 15.0

TAKE_OBJECTS: Final = "select version from basalt.backup_objects order by version limit 1000"
FORGET_OBJECTS: Final = "delete from basalt.backup_objects where version = any(%s)"
TAKE_MARK: Final = "select clock_timestamp(), pg_current_wal_flush_lsn()::text"
SLOT_POSITION: Final = "select restart_lsn::text from pg_replication_slots where slot_name = %s"


class WalArchiver:
    """Runs until told to stop; failures of the target or the database are waited out."""

    name = "wal_archive"

    def __init__(self, settings: Settings, access: DatabaseAccess) -> None:
        self._settings = settings
        self._access = access
        self._shelf: Shelf | None = None
        self._is_failing = False
        self._has_gap = False

    async def run(self, stopping: asyncio.Event) -> None:
        ending = threading.Event()
        working = asyncio.ensure_future(asyncio.to_thread(self._keep_archiving, ending))
        waiting = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.set()
            waiting.cancel()
        await working

    def _keep_archiving(self, ending: threading.Event) -> None:
        pause_s = FIRST_PAUSE_S
        while not ending.is_set():
            began = time.monotonic()
            try:
                self._archive(ending)
            except WalRemovedError:  # said at the start of the stream, or in it
                self._has_gap = True
                ending.wait(FIRST_PAUSE_S)
            except (BasaltError, psycopg.Error, OSError) as error:
                self._report(error)
                pause_s = FIRST_PAUSE_S if time.monotonic() - began > LONGEST_PAUSE_S else pause_s * 2
                ending.wait(min(pause_s, LONGEST_PAUSE_S))

    def _report(self, error: Exception) -> None:
        """Once when it begins to fail, as an error; then quietly until it works again."""
        if "is active for PID" in str(error):
            return  # another worker archives
        reason = error.message if isinstance(error, BasaltError) else str(error).strip()
        level: Any = "debug" if self._is_failing else "error"
        observe.event("wal_archive_failing", level=level, reason=reason)
        self._is_failing = True

    def _archive(self, ending: threading.Event) -> None:
        if self._shelf is None:
            self._shelf = open_place(self._settings, may_write=True)
        with connect(self._access) as connection:
            connection.execute(TRACK)
            stream = WalStream(self._access.conninfo("supabase_admin"))
            try:
                sending = _Sending(self._settings, connection, stream, self._shelf, self._note_success)
                sending.begin(has_gap=self._has_gap)
                self._has_gap = False
                sending.go_on(ending)
            finally:
                stream.close()

    def _note_success(self) -> None:
        if self._is_failing:
            observe.event("wal_archive_works_again")
            self._is_failing = False


class _Sending:
    """One connection's worth of archiving."""

    def __init__(
        self,
        settings: Settings,
        connection: psycopg.Connection[Any],
        stream: WalStream,
        shelf: Shelf,
        on_success: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._stream = stream
        self._shelf = shelf
        self._on_success = on_success
        self._identity: SystemIdentity = stream.identify()
        self._archive = WalShelf.of_system(shelf, self._identity.system_id)
        self._waiting = bytearray()
        self._start = 0
        self._mark: ArchivePosition | None = None
        self._mark_due = 0.0

    def begin(self, *, has_gap: bool) -> None:
        """Where the archive ends. With `has_gap`, when PostgreSQL has let go of that, as early as it can; the gap is
        told. Raises WalRemovedError, now or with the first bytes."""
        wanted = self._find_end(self._identity.timeline)
        if has_gap:
            self._connection.execute(DROP_SLOT, [ARCHIVE_SLOT])
        self._stream.ensure_slot(ARCHIVE_SLOT)
        if has_gap or wanted is None:
            began = self._slot_position()
            if wanted is not None and wanted < began:
                self._note_gap(wanted, began)
            wanted = began
        self._stream.start(wanted, self._identity.timeline, ARCHIVE_SLOT)
        self._start = wanted

    def go_on(self, ending: threading.Event) -> None:
        interval_s = self._settings.basalt.backup.wal_interval_s
        due = time.monotonic() + interval_s
        while not ending.is_set():
            self._receive(min(POLL_S, max(due - time.monotonic(), 0.01)))
            if time.monotonic() >= due:
                self._send()
                self._note_position()
                due = time.monotonic() + interval_s
        self._finish()

    def _finish(self) -> None:
        """A stop in order leaves nothing behind that was committed before it."""
        self._mark = self._take_mark()
        deadline = time.monotonic() + FINISH_S
        while self._stream.received < self._mark.position and time.monotonic() < deadline:
            self._receive(POLL_S)
        self._send()
        self._note_position()

    def _find_end(self, timeline: int) -> int | None:
        """Of the archive on this timeline: behind its last piece, or where the timeline branched off."""
        ends = [stored.piece.end for stored in self._archive.list() if stored.piece.timeline == timeline]
        if timeline == 1:
            return max(ends, default=None)
        history = self._stream.read_history(timeline)
        self._archive.put_history(timeline, history)
        return max(ends, default=parse_history(history)[-1][1])

    def _slot_position(self) -> int:
        row = self._connection.execute(SLOT_POSITION, [ARCHIVE_SLOT]).fetchone()
        if row is None or row[0] is None:
            raise WalRemovedError("the slot keeps nothing")
        return parse_lsn(row[0])

    def _receive(self, limit_s: float) -> None:
        self._waiting += self._stream.read(limit_s) or b""
        if len(self._waiting) >= PIECE_BYTES:
            self._send()

    def _send(self) -> None:
        """Objects before the log that names them."""
        if not self._waiting:
            return
        self._send_objects()
        piece = Piece(self._identity.timeline, self._start, self._start + len(self._waiting))
        self._archive.put(piece, bytes(self._waiting))
        self._stream.confirm(piece.end)
        self._start = piece.end
        self._waiting.clear()
        self._on_success()

    def _send_objects(self) -> None:
        while versions := [version for (version,) in self._connection.execute(TAKE_OBJECTS)]:
            asyncio.run(self._send_versions(versions))
            self._connection.execute(FORGET_OBJECTS, [versions])

    async def _send_versions(self, versions: list[str]) -> None:
        async with open_store(self._settings) as store:
            sizes = {
                version: size for version in versions if (size := await _size(store, version)) is not None
            }
            large = {version[:2] for version, size in sizes.items() if size > CHUNK_BYTES}
            known: dict[str, ObjectFiles] = {}
            for shard in large:
                known |= list_object_files(self._shelf, shard)
            await send_objects(self._shelf, store, sizes, known)

    def _note_position(self) -> None:
        """Every minute: how far the archive is known to hold all that was committed."""
        if self._mark is None and time.monotonic() >= self._mark_due:
            self._mark = self._take_mark()
        if self._mark is not None and self._start >= self._mark.position:
            self._archive.put_position(self._mark)
            self._mark = None
            self._mark_due = time.monotonic() + POSITION_S

    def _take_mark(self) -> ArchivePosition:
        """The time first: what was committed before it is in the log before the position."""
        row = self._connection.execute(TAKE_MARK).fetchone()
        assert row is not None
        return ArchivePosition(self._identity.timeline, parse_lsn(row[1]), row[0])

    def _note_gap(self, wanted: int, began: int) -> None:
        start, end = render_lsn(wanted), render_lsn(began)
        observe.event("wal_archive_gap", level="error", start=start, end=end)
        message = f"PostgreSQL let go of the log from {start} to {end} before the target took it"
        gap_id = f"gap-{self._identity.timeline}-{wanted:X}"
        self._connection.execute(NOTE_GAP, [gap_id, self._shelf.place, message])


async def _size(store: Store, version: str) -> int | None:
    """None for what is gone: its row was deleted long ago, or never had bytes."""
    try:
        return await store.size(version)
    except ContentMissingError:
        return None
