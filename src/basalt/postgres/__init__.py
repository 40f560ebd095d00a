"""Everything between Basalt and PostgreSQL: the private cluster, the bootstrap of the database contract, extensions."""

from basalt.postgres.access import DatabaseAccess, access_from_url
from basalt.postgres.cluster import ClusterError, PrivateCluster
from basalt.postgres.extensions import extension_policy
from basalt.postgres.install import InstallError, PostgresInstall, find_postgres

__all__ = [
    "ClusterError",
    "DatabaseAccess",
    "InstallError",
    "PostgresInstall",
    "PrivateCluster",
    "access_from_url",
    "extension_policy",
    "find_postgres",
]
