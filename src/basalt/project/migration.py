"""Vault's secrets, then the modules that the settings ask for, then pending migrations, then seeds, then buckets: what
every start does to the database and what `basalt db up` is."""

from collections.abc import Callable, Mapping

from basalt.config import Settings
from basalt.postgres import (
    DatabaseAccess,
    MigrationReport,
    OnProgress,
    Progress,
    apply_migrations,
    apply_module,
    apply_seeds,
    ensure_vault_secrets,
    find_table_makers,
    list_migrations,
    module_tables,
)
from basalt.storage import check_bucket_settings, ensure_buckets

Tell = Callable[[str], None]


def migrate(
    access: DatabaseAccess, settings: Settings, *, on_progress: Tell | None = None
) -> MigrationReport:
    """Applies the pending migrations and the seeds that the database has not seen, and makes the buckets and secrets
    of the settings. `on_progress` receives one line per step. Raises ConfigError before anything is changed, and
    MigrationError; the files before the wrong one stay applied."""

    def tell(progress: Progress) -> None:
        if on_progress and (line := render_progress(progress)):
            on_progress(line)

    check_bucket_settings(settings)
    ensure_vault_secrets(access, settings.db.vault)
    early = _apply_early_migrations(access, settings, on_progress=tell)
    apply_modules(access, settings, on_progress=on_progress)
    report = apply_migrations(access, settings.project_dir, on_progress=tell)
    apply_seeds(access, settings, on_progress=tell)
    ensure_buckets(settings, access, on_progress=on_progress)
    return MigrationReport(early.applied + report.applied, early.warnings + report.warnings)


def apply_modules(access: DatabaseAccess, settings: Settings, *, on_progress: Tell | None = None) -> None:
    """The tables and routines that the settings ask for. Raises ModuleError."""
    for name, values in _wanted_modules(settings).items():
        if apply_module(access, name, values) and on_progress:
            on_progress(f"Applied the SQL of {name}")


def _wanted_modules(settings: Settings) -> Mapping[str, Mapping[str, float]]:
    """By name, with the settings that its routines go by."""
    notify = settings.notify
    if not notify.enabled:
        return {}
    return {
        "notify": {
            "max_context_bytes": notify.max_context_bytes,
            "archive_after_s": notify.archive_after_s,
            "keep_s": notify.keep_s,
            "keep_deliveries_s": notify.keep_deliveries_s,
        }
    }


def _apply_early_migrations(
    access: DatabaseAccess, settings: Settings, *, on_progress: OnProgress
) -> MigrationReport:
    """A module comes before the project's migrations, but for those that make a table of the same name: the module
    adds to it what it lacks, as it did where the project had the table first."""
    tables = frozenset[str]().union(*map(module_tables, _wanted_modules(settings)))
    makers = find_table_makers(settings.project_dir, tables) if tables else []
    if not makers:
        return MigrationReport((), ())
    statuses = list_migrations(access, settings.project_dir)
    pending = {status.path for status in statuses if status.state == "pending"}
    waiting = [file for file in makers if file.path in pending]
    if not waiting:
        return MigrationReport((), ())
    return apply_migrations(access, settings.project_dir, on_progress=on_progress, until=waiting[-1])


def render_progress(progress: Progress) -> str:
    """One line for people; empty for what need not be said.

    >>> render_progress(Progress("applying", "supabase/migrations/1_a.sql"))
    'Applying supabase/migrations/1_a.sql'
    """
    match progress.kind:
        case "applying":
            return f"Applying {progress.file}"
        case "seeding":
            return f"Seeding from {progress.file}"
        case "skipped":
            return f"Passing over {progress.file}: {progress.detail}"
        case "warning":
            return f"Warning: {progress.detail}"
        case "applied" | "seeded":
            return ""
