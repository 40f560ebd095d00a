"""The log that belongs to one copy of the cluster, received while the copy is made."""

import threading
from typing import Final

from basalt.postgres.backup import Piece, WalStream, segment_start
from basalt.project.backup.errors import BackupError
from basalt.project.backup.files import FileEntry
from basalt.project.backup.wal_shelf import WalShelf

PIECE_BYTES: Final = 16 * 1024 * 1024
POLL_S: Final = 0.2
END_LIMIT_S: Final = 600.0  # for the rest of the log after the copy


class OwnLog:
    """A thread that receives from now on. `finish` waits for a position and returns what was stored."""

    def __init__(self, conninfo: str, shelf: WalShelf, slot: str) -> None:
        self._shelf = shelf
        self._stream = WalStream(conninfo)
        self.files: list[FileEntry] = []
        self._until: int | None = None
        self._failure: BaseException | None = None
        try:
            identity = self._stream.identify()
            self.system_id, self.timeline = identity.system_id, identity.timeline
            self.start = segment_start(identity.position)
            if self.timeline > 1:
                shelf.put_history(self.timeline, self._stream.read_history(self.timeline))
            self._stream.ensure_slot(slot, temporary=True)
            self._stream.start(self.start, self.timeline, slot)
        except BaseException:
            self._stream.close()
            raise
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="backup-log", daemon=True)
        self._thread.start()

    def finish(self, position: int) -> None:
        """All up to `position` is stored. Raises what went wrong."""
        self._until = position
        self._thread.join(END_LIMIT_S)
        if self._failure is not None:
            raise self._failure
        if self._thread.is_alive():
            raise BackupError("backup_log_late")

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(END_LIMIT_S)
        self._stream.close()

    def check(self) -> None:
        """Raises what went wrong so far."""
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._receive()
        except BaseException as exc:
            self._failure = exc

    def _receive(self) -> None:
        waiting, start = bytearray(), self.start
        while not self._stopping.is_set():
            data = self._stream.read(POLL_S)
            waiting += data or b""
            is_over = self._until is not None and self._stream.received >= self._until
            if len(waiting) >= PIECE_BYTES or (is_over and waiting):
                piece = Piece(self.timeline, start, start + len(waiting))
                self.files.append(self._shelf.put(piece, bytes(waiting)))
                start = piece.end
                waiting.clear()
                self._stream.confirm(start)
            if is_over:
                return
