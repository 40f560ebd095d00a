"""What PostgreSQL itself does for backups: copies of the cluster (`base`), its log (`wal_stream`, `wal_pieces`),
recovery to a moment (`recovery`), what the tables hold at one (`snapshot`), and dumps (`dump`).

A front of its own beside that of `basalt.postgres`, for commands and for a worker that makes backups: nobody else
loads any of it.
"""

from basalt.postgres.archive_slot import ARCHIVE_SLOT, DROP_SLOT, TRACK
from basalt.postgres.backup.base import copying_cluster
from basalt.postgres.backup.dump import DumpError, dumping, feed, list_archive
from basalt.postgres.backup.lsn import parse_lsn, render_lsn, segment_start
from basalt.postgres.backup.recovery import RecoveryError, RecoveryTarget, recovered_server, running_server
from basalt.postgres.backup.snapshot import (
    NoSnapshotError,
    TableDigest,
    digest_database,
    digest_tables,
    dump_snapshot,
    exact_snapshot,
    list_objects,
)
from basalt.postgres.backup.wal_pieces import (
    Gap,
    Piece,
    WalFolder,
    cut_at_branches,
    find_gap,
    parse_history,
    reach_of,
)
from basalt.postgres.backup.wal_stream import SystemIdentity, WalRemovedError, WalStream, WalStreamError

__all__ = [
    "ARCHIVE_SLOT",
    "DROP_SLOT",
    "TRACK",
    "DumpError",
    "Gap",
    "NoSnapshotError",
    "Piece",
    "RecoveryError",
    "RecoveryTarget",
    "SystemIdentity",
    "TableDigest",
    "WalFolder",
    "WalRemovedError",
    "WalStream",
    "WalStreamError",
    "copying_cluster",
    "cut_at_branches",
    "digest_database",
    "digest_tables",
    "dump_snapshot",
    "dumping",
    "exact_snapshot",
    "feed",
    "find_gap",
    "list_archive",
    "list_objects",
    "parse_history",
    "parse_lsn",
    "reach_of",
    "recovered_server",
    "render_lsn",
    "running_server",
    "segment_start",
]
