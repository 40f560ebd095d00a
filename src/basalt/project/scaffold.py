"""`basalt init` and `basalt db new`: the files that a project begins with, and the next migration."""

import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

from basalt.errors import BasaltError

# The files of a new project; `project_id` is filled in where config.toml says {project_id}.
SCAFFOLD = {
    "supabase/config.toml": "config.toml",
    "supabase/seed.sql": "seed.sql",
    "supabase/functions/hello/index.py": "hello.py",
    ".gitignore": "gitignore",
}
MAX_TITLE_CHARS = 100


def create_project(directory: Path, name: str) -> list[Path]:
    """Writes a new project into `directory` and returns its files. Raises BasaltError, with nothing
    written, when one of them is there already; an existing `.gitignore` is kept."""
    targets = {directory / target: source for target, source in SCAFFOLD.items()}
    if (directory / ".gitignore").exists():
        del targets[directory / ".gitignore"]
    if taken := [path for path in targets if path.exists()]:
        raise BasaltError(
            "project_exists",
            409,
            f"{taken[0]} exists already; nothing was written.",
            hint="Choose another folder.",
        )
    project_id = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "project"
    try:
        (directory / "supabase" / "migrations").mkdir(parents=True, exist_ok=True)
        for target, source in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            text = files("basalt.project").joinpath("template", source).read_text("utf-8")
            target.write_text(text.replace("{project_id}", project_id), "utf-8")
    except OSError as exc:
        raise BasaltError("project_unwritable", 500, f"{exc.filename}: {exc.strerror}.") from exc
    return list(targets)


def new_migration(project_dir: Path, title: str, *, now: datetime | None = None) -> Path:
    """Makes the empty migration `<UTC time to the second>_<title>.sql` and returns its path. The version
    is later than every other in the folder, also when two are made within one second."""
    slug = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:MAX_TITLE_CHARS]
    if not slug:
        raise BasaltError("title_empty", 400, "A migration's title needs at least one letter or digit.")
    folder = project_dir / "supabase" / "migrations"
    moment = now or datetime.now(UTC)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while any(folder.glob(f"{moment:%Y%m%d%H%M%S}_*.sql")):
            moment += timedelta(seconds=1)
        path = folder / f"{moment:%Y%m%d%H%M%S}_{slug}.sql"
        path.open("x").close()
    except OSError as exc:
        raise BasaltError("migration_unwritable", 500, f"{exc.filename}: {exc.strerror}.") from exc
    return path
