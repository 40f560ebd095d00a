"""`basalt doctor`: what is wrong with a project, and what mends it."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from basalt import project
from basalt.cli.findings import print_findings
from basalt.cli.options import AsJson, Directory, load_project
from basalt.config import ConfigError, Settings
from basalt.postgres import DatabaseAccess, access_from_url, load_access
from basalt.supervisor import find_running

if TYPE_CHECKING:
    from basalt.project import Examination

WRONG = 1


def doctor(
    directory: Directory = Path(),
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="A check or a group of checks; may be repeated, or parted by commas.",
            show_default="all",
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Name all checks, by group, and do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Examine a project: settings, schema, sessions, replication, jobs, disk. Changes nothing. Exit code 1: errors."""
    if list_:
        _list_checks()
        return
    wanted = [name.strip() for part in only or [] for name in part.split(",") if name.strip()]
    try:
        settings = load_project(directory)
    except ConfigError as error:
        if not as_json:
            raise
        typer.echo(
            orjson.dumps({"ok": False, "invalid_config": [str(each) for each in error.problems]}).decode()
        )
        raise typer.Exit(WRONG) from error
    access, why_without = _find_database(settings)
    seen = project.examine(settings, access, only=wanted, why_without=why_without)
    if as_json:
        typer.echo(_render_json(seen))
    else:
        unseen = [(each.what, each.reason) for each in seen.unseen]
        print_findings(seen.findings, unseen, len(seen.looked))
    if seen.has_errors:
        raise typer.Exit(WRONG)


def _find_database(settings: Settings) -> tuple[DatabaseAccess | None, str]:
    """Without starting anything: a project that is stopped is examined by its settings alone."""
    if settings.db.url:
        # The owner's login is all that is wanted: what other roles have must not be made up and written down here.
        with tempfile.TemporaryDirectory() as folder:
            return access_from_url(settings.db.url, Path(folder)), ""
    if find_running(settings.state_dir) is None:
        return None, "the project does not run: `basalt start` it, and ask again"
    return load_access(settings.state_dir), ""


def _list_checks() -> None:
    for group, names in project.check_names().items():
        typer.echo(f"{group:14} {', '.join(names)}")


def _render_json(seen: "Examination") -> str:
    report = {
        "ok": not seen.has_errors,
        "findings": [asdict(finding) for finding in seen.findings],
        "looked": list(seen.looked),
        "unseen": [asdict(each) for each in seen.unseen],
    }
    return orjson.dumps(report).decode()
