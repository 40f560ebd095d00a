"""Everything between Basalt and PostgreSQL: the private cluster, the bootstrap of the database contract, extensions."""

from basalt.postgres.access import DatabaseAccess, access_from_url, load_access
from basalt.postgres.bootstrap import BootstrapError, BootstrapReport, apply_bootstrap
from basalt.postgres.cluster import ClusterError, PrivateCluster
from basalt.postgres.extensions import ExtensionPolicy, debian_package, extension_policy
from basalt.postgres.install import InstallError, PostgresInstall, find_postgres

__all__ = [
    "BootstrapError",
    "BootstrapReport",
    "ClusterError",
    "DatabaseAccess",
    "ExtensionPolicy",
    "InstallError",
    "PostgresInstall",
    "PrivateCluster",
    "access_from_url",
    "apply_bootstrap",
    "debian_package",
    "extension_policy",
    "find_postgres",
    "load_access",
]
