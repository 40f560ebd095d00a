"""What a command does to a whole project: make one, bring its database up to date, begin it anew, dump it, examine it,
lint it, print its types."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from basalt.postgres import MigrationStatus, list_migrations
    from basalt.project.alerts import AlertRow, AlertWatch, list_alerts, render_rules
    from basalt.project.doctor import Examination, Unseen, check_names, examine
    from basalt.project.down import MigrationCheck, check_migrations, undo
    from basalt.project.dump import DumpRequest, dump_database, restore_database
    from basalt.project.fresh_start import recreate, reset
    from basalt.project.lint import LintReport, lint_database, render_mends
    from basalt.project.migration import apply_modules, migrate
    from basalt.project.privacy import Erasure, Export, erase_user, export_user
    from basalt.project.retention import RetentionJobs, describe_policies, run_policy
    from basalt.project.scaffold import create_project, new_migration
    from basalt.project.testing import (
        FileResult,
        Outcome,
        TestFile,
        TestOptions,
        TestReport,
        Watch,
        find_tests,
        render_json,
        render_junit,
        render_tap,
        run_tests,
    )
    from basalt.project.throwaway import throwaway_database
    from basalt.project.types import SchemaTypes, load_types, render_python, render_typescript

__all__ = [
    "AlertRow",
    "AlertWatch",
    "DumpRequest",
    "Erasure",
    "Examination",
    "Export",
    "FileResult",
    "LintReport",
    "MigrationCheck",
    "MigrationStatus",
    "Outcome",
    "RetentionJobs",
    "SchemaTypes",
    "TestFile",
    "TestOptions",
    "TestReport",
    "Unseen",
    "Watch",
    "apply_modules",
    "check_migrations",
    "check_names",
    "create_project",
    "describe_policies",
    "dump_database",
    "erase_user",
    "examine",
    "export_user",
    "find_tests",
    "lint_database",
    "list_alerts",
    "list_migrations",
    "load_types",
    "migrate",
    "new_migration",
    "recreate",
    "render_json",
    "render_junit",
    "render_mends",
    "render_python",
    "render_rules",
    "render_tap",
    "render_typescript",
    "reset",
    "restore_database",
    "run_policy",
    "run_tests",
    "throwaway_database",
    "undo",
]

_MODULES = {
    "MigrationCheck": "basalt.project.down",
    "check_migrations": "basalt.project.down",
    "undo": "basalt.project.down",
    "MigrationStatus": "basalt.postgres",
    "list_migrations": "basalt.postgres",
    "AlertRow": "basalt.project.alerts",
    "AlertWatch": "basalt.project.alerts",
    "list_alerts": "basalt.project.alerts",
    "render_rules": "basalt.project.alerts",
    "Examination": "basalt.project.doctor",
    "Unseen": "basalt.project.doctor",
    "check_names": "basalt.project.doctor",
    "examine": "basalt.project.doctor",
    "Erasure": "basalt.project.privacy",
    "Export": "basalt.project.privacy",
    "erase_user": "basalt.project.privacy",
    "export_user": "basalt.project.privacy",
    "RetentionJobs": "basalt.project.retention",
    "describe_policies": "basalt.project.retention",
    "run_policy": "basalt.project.retention",
    "LintReport": "basalt.project.lint",
    "lint_database": "basalt.project.lint",
    "render_mends": "basalt.project.lint",
    "throwaway_database": "basalt.project.throwaway",
    "FileResult": "basalt.project.testing",
    "Outcome": "basalt.project.testing",
    "TestFile": "basalt.project.testing",
    "TestOptions": "basalt.project.testing",
    "TestReport": "basalt.project.testing",
    "Watch": "basalt.project.testing",
    "find_tests": "basalt.project.testing",
    "render_json": "basalt.project.testing",
    "render_junit": "basalt.project.testing",
    "render_tap": "basalt.project.testing",
    "run_tests": "basalt.project.testing",
    "apply_modules": "basalt.project.migration",
    "migrate": "basalt.project.migration",
    "recreate": "basalt.project.fresh_start",
    "reset": "basalt.project.fresh_start",
    "create_project": "basalt.project.scaffold",
    "new_migration": "basalt.project.scaffold",
    "SchemaTypes": "basalt.project.types",
    "load_types": "basalt.project.types",
    "render_python": "basalt.project.types",
    "render_typescript": "basalt.project.types",
    "DumpRequest": "basalt.project.dump",
    "dump_database": "basalt.project.dump",
    "restore_database": "basalt.project.dump",
}


def __getattr__(name: str) -> object:
    # The supervisor and the worker stay: they load what they use, and nothing of what commands do.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
