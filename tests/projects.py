"""Project folders for tests, written from texts."""

from collections.abc import Mapping
from pathlib import Path

from basalt.config import Settings, load_settings


def write_project(folder: Path, files: Mapping[str, str]) -> Path:
    """`files` maps paths below `supabase/` to texts; a bare name is a migration."""
    (folder / "supabase" / "migrations").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        is_migration = "/" not in name and name not in ("seed.sql", "roles.sql", "config.toml")
        path = folder / "supabase" / (f"migrations/{name}" if is_migration else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return folder


def settings_of(folder: Path) -> Settings:
    return load_settings(folder, {})
