"""Vault's secrets, then pending migrations, then seeds, then buckets: what every start does to the database and what
`basalt db up` is."""

from collections.abc import Callable

from basalt.config import Settings
from basalt.postgres import (
    DatabaseAccess,
    MigrationReport,
    Progress,
    apply_migrations,
    apply_seeds,
    ensure_vault_secrets,
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
    report = apply_migrations(access, settings.project_dir, on_progress=tell)
    apply_seeds(access, settings, on_progress=tell)
    ensure_buckets(settings, access, on_progress=on_progress)
    return report


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
