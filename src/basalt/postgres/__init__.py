"""Everything between Basalt and PostgreSQL: the private cluster, the bootstrap of the database contract,
extensions."""

import importlib
from typing import TYPE_CHECKING

from basalt.postgres.access import DatabaseAccess, access_from_url, load_access
from basalt.postgres.bootstrap import BOOTSTRAP_DIR, BootstrapError, BootstrapReport, apply_bootstrap
from basalt.postgres.cluster import PrivateCluster
from basalt.postgres.cluster_error import ClusterError
from basalt.postgres.cluster_folders import cluster_home, ensure_home
from basalt.postgres.extensions import ExtensionPolicy, debian_package, extension_policy
from basalt.postgres.install import InstallError, PostgresInstall, find_postgres, list_postgres
from basalt.postgres.lane_job import Query, Result
from basalt.postgres.lanes import LanePool
from basalt.postgres.libpq_wait import cancel, connect, wait_for_socket
from basalt.postgres.migration_error import MigrationError
from basalt.postgres.migration_folder import (
    MigrationFile,
    MigrationStatus,
    find_table_makers,
    list_wanted_extensions,
)
from basalt.postgres.migrations import MigrationReport, apply_migrations, list_migrations, lock_migrations
from basalt.postgres.module_error import ModuleError
from basalt.postgres.modules import apply_module, module_tables
from basalt.postgres.os_user import ServerUser, server_user
from basalt.postgres.pool import Pool, open_pool
from basalt.postgres.postgres_error import LanesUnavailable, PostgresError
from basalt.postgres.readings import POSTGRES_READINGS, Figure, FigureReader, Reading
from basalt.postgres.schema_cache import (
    Cardinality,
    Column,
    Junction,
    MediaHandler,
    Name,
    Parameter,
    Relationship,
    RoleSettings,
    Routine,
    RowKind,
    SchemaCache,
    Table,
    Volatility,
)
from basalt.postgres.schema_introspection import HOISTED_SETTINGS, load_schema_cache
from basalt.postgres.scram import build_verifier
from basalt.postgres.scripts import OnProgress, Progress
from basalt.postgres.seeds import apply_seeds
from basalt.postgres.vault import ensure_vault_secrets, rotate_vault_key

if TYPE_CHECKING:
    from basalt.postgres.advice import (
        RANK,
        SCHEMA_CHECKS,
        UNUSED_INDEX,
        USAGE_CHECKS,
        CheckRun,
        Finding,
        Severity,
        SqlCheck,
        run_checks,
        worst,
    )
    from basalt.postgres.backup.base import BaseBackupError, copying_cluster
    from basalt.postgres.backup.dump import DumpError, dumping, feed, find_program, list_archive
    from basalt.postgres.backup.lsn import parse_lsn, render_lsn, segment_start
    from basalt.postgres.backup.recovery import (
        RecoveryError,
        RecoveryTarget,
        recovered_server,
        running_server,
    )
    from basalt.postgres.backup.slot import ARCHIVE_SLOT, DROP_SLOT, TRACK, forget_archive
    from basalt.postgres.backup.snapshot import (
        NoSnapshotError,
        Snapshot,
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
    from basalt.postgres.extension_statements import ExtensionStatements
    from basalt.postgres.migration_error import excerpt, line_of
    from basalt.postgres.rollbacks import (
        Rollback,
        RollbackError,
        apply_rollback,
        plan_rollbacks,
        rollback_path,
    )
    from basalt.postgres.scripts import HARMLESS_COMMANDS
    from basalt.postgres.statements import Statement, split_statements
    from basalt.postgres.upgrade import (
        UpgradeError,
        UpgradePlan,
        check_upgrade,
        plan_upgrade,
        read_major,
        undo_upgrade,
        upgrade_cluster,
    )

__all__ = [
    "ARCHIVE_SLOT",
    "BOOTSTRAP_DIR",
    "DROP_SLOT",
    "HARMLESS_COMMANDS",
    "HOISTED_SETTINGS",
    "POSTGRES_READINGS",
    "RANK",
    "SCHEMA_CHECKS",
    "TRACK",
    "UNUSED_INDEX",
    "USAGE_CHECKS",
    "BaseBackupError",
    "BootstrapError",
    "BootstrapReport",
    "Cardinality",
    "CheckRun",
    "ClusterError",
    "Column",
    "DatabaseAccess",
    "DumpError",
    "ExtensionPolicy",
    "ExtensionStatements",
    "Figure",
    "FigureReader",
    "Finding",
    "Gap",
    "InstallError",
    "Junction",
    "LanePool",
    "LanesUnavailable",
    "MediaHandler",
    "MigrationError",
    "MigrationFile",
    "MigrationReport",
    "MigrationStatus",
    "ModuleError",
    "Name",
    "NoSnapshotError",
    "OnProgress",
    "Parameter",
    "Piece",
    "Pool",
    "PostgresError",
    "PostgresInstall",
    "PrivateCluster",
    "Progress",
    "Query",
    "Reading",
    "RecoveryError",
    "RecoveryTarget",
    "Relationship",
    "Result",
    "RoleSettings",
    "Rollback",
    "RollbackError",
    "Routine",
    "RowKind",
    "SchemaCache",
    "ServerUser",
    "Severity",
    "Snapshot",
    "SqlCheck",
    "Statement",
    "SystemIdentity",
    "Table",
    "TableDigest",
    "UpgradeError",
    "UpgradePlan",
    "Volatility",
    "WalFolder",
    "WalRemovedError",
    "WalStream",
    "WalStreamError",
    "access_from_url",
    "apply_bootstrap",
    "apply_migrations",
    "apply_module",
    "apply_rollback",
    "apply_seeds",
    "build_verifier",
    "cancel",
    "check_upgrade",
    "cluster_home",
    "connect",
    "copying_cluster",
    "cut_at_branches",
    "debian_package",
    "digest_database",
    "digest_tables",
    "dump_snapshot",
    "dumping",
    "ensure_home",
    "ensure_vault_secrets",
    "exact_snapshot",
    "excerpt",
    "extension_policy",
    "feed",
    "find_gap",
    "find_postgres",
    "find_program",
    "find_table_makers",
    "forget_archive",
    "line_of",
    "list_archive",
    "list_migrations",
    "list_objects",
    "list_postgres",
    "list_wanted_extensions",
    "load_access",
    "load_schema_cache",
    "lock_migrations",
    "module_tables",
    "open_pool",
    "parse_history",
    "parse_lsn",
    "plan_rollbacks",
    "plan_upgrade",
    "reach_of",
    "read_major",
    "recovered_server",
    "render_lsn",
    "rollback_path",
    "rotate_vault_key",
    "run_checks",
    "running_server",
    "segment_start",
    "server_user",
    "split_statements",
    "undo_upgrade",
    "upgrade_cluster",
    "wait_for_socket",
    "worst",
]

_MODULES = {
    "ExtensionStatements": "basalt.postgres.extension_statements",
    "excerpt": "basalt.postgres.migration_error",
    "line_of": "basalt.postgres.migration_error",
    "HARMLESS_COMMANDS": "basalt.postgres.scripts",
    "Statement": "basalt.postgres.statements",
    "split_statements": "basalt.postgres.statements",
    "Rollback": "basalt.postgres.rollbacks",
    "apply_rollback": "basalt.postgres.rollbacks",
    "RollbackError": "basalt.postgres.rollbacks",
    "rollback_path": "basalt.postgres.rollbacks",
    "plan_rollbacks": "basalt.postgres.rollbacks",
    "RANK": "basalt.postgres.advice",
    "SCHEMA_CHECKS": "basalt.postgres.advice",
    "UNUSED_INDEX": "basalt.postgres.advice",
    "USAGE_CHECKS": "basalt.postgres.advice",
    "CheckRun": "basalt.postgres.advice",
    "Finding": "basalt.postgres.advice",
    "Severity": "basalt.postgres.advice",
    "SqlCheck": "basalt.postgres.advice",
    "run_checks": "basalt.postgres.advice",
    "worst": "basalt.postgres.advice",
    "ARCHIVE_SLOT": "basalt.postgres.backup.slot",
    "DROP_SLOT": "basalt.postgres.backup.slot",
    "TRACK": "basalt.postgres.backup.slot",
    "forget_archive": "basalt.postgres.backup.slot",
    "UpgradeError": "basalt.postgres.upgrade",
    "UpgradePlan": "basalt.postgres.upgrade",
    "check_upgrade": "basalt.postgres.upgrade",
    "plan_upgrade": "basalt.postgres.upgrade",
    "undo_upgrade": "basalt.postgres.upgrade",
    "upgrade_cluster": "basalt.postgres.upgrade",
    "read_major": "basalt.postgres.upgrade",
    "BaseBackupError": "basalt.postgres.backup.base",
    "copying_cluster": "basalt.postgres.backup.base",
    "DumpError": "basalt.postgres.backup.dump",
    "dumping": "basalt.postgres.backup.dump",
    "feed": "basalt.postgres.backup.dump",
    "find_program": "basalt.postgres.backup.dump",
    "list_archive": "basalt.postgres.backup.dump",
    "parse_lsn": "basalt.postgres.backup.lsn",
    "render_lsn": "basalt.postgres.backup.lsn",
    "segment_start": "basalt.postgres.backup.lsn",
    "RecoveryError": "basalt.postgres.backup.recovery",
    "RecoveryTarget": "basalt.postgres.backup.recovery",
    "recovered_server": "basalt.postgres.backup.recovery",
    "running_server": "basalt.postgres.backup.recovery",
    "NoSnapshotError": "basalt.postgres.backup.snapshot",
    "Snapshot": "basalt.postgres.backup.snapshot",
    "TableDigest": "basalt.postgres.backup.snapshot",
    "digest_database": "basalt.postgres.backup.snapshot",
    "digest_tables": "basalt.postgres.backup.snapshot",
    "dump_snapshot": "basalt.postgres.backup.snapshot",
    "exact_snapshot": "basalt.postgres.backup.snapshot",
    "list_objects": "basalt.postgres.backup.snapshot",
    "Gap": "basalt.postgres.backup.wal_pieces",
    "Piece": "basalt.postgres.backup.wal_pieces",
    "WalFolder": "basalt.postgres.backup.wal_pieces",
    "cut_at_branches": "basalt.postgres.backup.wal_pieces",
    "find_gap": "basalt.postgres.backup.wal_pieces",
    "parse_history": "basalt.postgres.backup.wal_pieces",
    "reach_of": "basalt.postgres.backup.wal_pieces",
    "SystemIdentity": "basalt.postgres.backup.wal_stream",
    "WalRemovedError": "basalt.postgres.backup.wal_stream",
    "WalStream": "basalt.postgres.backup.wal_stream",
    "WalStreamError": "basalt.postgres.backup.wal_stream",
}


def __getattr__(name: str) -> object:
    # Advice and backups are the business of a few commands, and of a worker that makes backups.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
