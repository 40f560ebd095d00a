"""A private cluster moves to a later major version of PostgreSQL.

`plan` looks at the old cluster and at what is installed. `steps` makes the new data directory beside the old one,
filled by pg_upgrade (`by_program`) where the new version has it, else by a dump (`by_dump`). It takes its place when
every table has as many rows as before; the old one stays, as `data.pgMAJOR`.
"""

from basalt.postgres.upgrade.plan import UpgradeError, UpgradePlan, plan_upgrade
from basalt.postgres.upgrade.steps import check_upgrade, undo_upgrade, upgrade_cluster

__all__ = ["UpgradeError", "UpgradePlan", "check_upgrade", "plan_upgrade", "undo_upgrade", "upgrade_cluster"]
