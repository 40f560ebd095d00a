"""What a command does to a whole project: make one, bring its database up to date, begin it anew."""

from basalt.postgres import MigrationStatus, list_migrations
from basalt.project.migrate import migrate
from basalt.project.reset import recreate, reset
from basalt.project.scaffold import create_project, new_migration

__all__ = [
    "MigrationStatus",
    "create_project",
    "list_migrations",
    "migrate",
    "new_migration",
    "recreate",
    "reset",
]
