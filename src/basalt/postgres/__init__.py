"""Everything between Basalt and PostgreSQL: the private cluster, the bootstrap of the database contract,
extensions."""

from basalt.postgres.access import DatabaseAccess, access_from_url, load_access
from basalt.postgres.bootstrap import BOOTSTRAP_DIR, BootstrapError, BootstrapReport, apply_bootstrap
from basalt.postgres.cluster import PrivateCluster
from basalt.postgres.cluster_error import ClusterError
from basalt.postgres.extensions import ExtensionPolicy, debian_package, extension_policy
from basalt.postgres.install import InstallError, PostgresInstall, find_postgres
from basalt.postgres.lane_job import Query, Result
from basalt.postgres.lanes import LanePool
from basalt.postgres.libpq_wait import cancel, connect, wait_for_socket
from basalt.postgres.migration_error import MigrationError
from basalt.postgres.migration_folder import MigrationFile, MigrationStatus, list_wanted_extensions
from basalt.postgres.migrations import MigrationReport, apply_migrations, list_migrations, lock_migrations
from basalt.postgres.pool import Pool, open_pool
from basalt.postgres.postgres_error import LanesUnavailable, PostgresError
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
from basalt.postgres.scripts import Progress
from basalt.postgres.seeds import apply_seeds
from basalt.postgres.vault import ensure_vault_secrets, rotate_vault_key

__all__ = [
    "BOOTSTRAP_DIR",
    "HOISTED_SETTINGS",
    "BootstrapError",
    "BootstrapReport",
    "Cardinality",
    "ClusterError",
    "Column",
    "DatabaseAccess",
    "ExtensionPolicy",
    "InstallError",
    "Junction",
    "LanePool",
    "LanesUnavailable",
    "MediaHandler",
    "MigrationError",
    "MigrationFile",
    "MigrationReport",
    "MigrationStatus",
    "Name",
    "Parameter",
    "Pool",
    "PostgresError",
    "PostgresInstall",
    "PrivateCluster",
    "Progress",
    "Query",
    "Relationship",
    "Result",
    "RoleSettings",
    "Routine",
    "RowKind",
    "SchemaCache",
    "Table",
    "Volatility",
    "access_from_url",
    "apply_bootstrap",
    "apply_migrations",
    "apply_seeds",
    "build_verifier",
    "cancel",
    "connect",
    "debian_package",
    "ensure_vault_secrets",
    "extension_policy",
    "find_postgres",
    "list_migrations",
    "list_wanted_extensions",
    "load_access",
    "load_schema_cache",
    "lock_migrations",
    "open_pool",
    "rotate_vault_key",
    "wait_for_socket",
]
