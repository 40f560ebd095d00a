"""Everything between Basalt and PostgreSQL: the private cluster, the bootstrap of the database contract, extensions.

What few need has fronts of its own: `basalt.postgres.backup` and `basalt.postgres.upgrade`.
"""

import importlib
from typing import TYPE_CHECKING

from basalt.postgres.access import DatabaseAccess, access_from_url, load_access
from basalt.postgres.archive_slot import forget_archive
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
from basalt.postgres.modules import MODULE_NAMES, apply_module, module_routines, module_tables
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

__all__ = [
    "BOOTSTRAP_DIR",
    "HARMLESS_COMMANDS",
    "HOISTED_SETTINGS",
    "MODULE_NAMES",
    "POSTGRES_READINGS",
    "RANK",
    "SCHEMA_CHECKS",
    "UNUSED_INDEX",
    "USAGE_CHECKS",
    "BootstrapError",
    "BootstrapReport",
    "Cardinality",
    "CheckRun",
    "ClusterError",
    "Column",
    "DatabaseAccess",
    "ExtensionPolicy",
    "ExtensionStatements",
    "Figure",
    "FigureReader",
    "Finding",
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
    "OnProgress",
    "Parameter",
    "Pool",
    "PostgresError",
    "PostgresInstall",
    "PrivateCluster",
    "Progress",
    "Query",
    "Reading",
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
    "SqlCheck",
    "Statement",
    "Table",
    "Volatility",
    "access_from_url",
    "apply_bootstrap",
    "apply_migrations",
    "apply_module",
    "apply_rollback",
    "apply_seeds",
    "build_verifier",
    "cancel",
    "cluster_home",
    "connect",
    "debian_package",
    "ensure_home",
    "ensure_vault_secrets",
    "excerpt",
    "extension_policy",
    "find_postgres",
    "find_table_makers",
    "forget_archive",
    "line_of",
    "list_migrations",
    "list_postgres",
    "list_wanted_extensions",
    "load_access",
    "load_schema_cache",
    "lock_migrations",
    "module_routines",
    "module_tables",
    "open_pool",
    "plan_rollbacks",
    "rollback_path",
    "rotate_vault_key",
    "run_checks",
    "server_user",
    "split_statements",
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
}


def __getattr__(name: str) -> object:
    # Advice is the business of a few commands.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
