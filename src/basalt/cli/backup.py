"""`basalt backup`: copies of the whole project at a target, and the way back."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
import typer

from basalt.cli.database import open_database
from basalt.cli.options import AsJson, Directory, load_project
from basalt.cli.projects import stop_project
from basalt.config import Settings, load_settings
from basalt.late import LateModule
from basalt.postgres import access_from_url
from basalt.supervisor import find_running, hold_project, private_cluster

if TYPE_CHECKING:
    from basalt.project import backup as backups
else:
    backups = LateModule("basalt.project.backup")

backup = typer.Typer(help="Backups: make, list, check, rehearse, restore.", no_args_is_help=True)

FOUND_WRONG = 1


def _parse_target(text: str) -> str:
    """
    >>> _parse_target("s3://bucket/app"), _parse_target("/mnt/out")
    ('s3://bucket/app', '/mnt/out')
    """
    if "://" not in text:  # as other paths of a command; the settings' is relative to the project
        return str(Path(text).absolute())
    if not text.startswith("s3://"):
        raise typer.BadParameter("expected a folder or s3://BUCKET/PREFIX")
    return text


Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="Folder or s3://BUCKET/PREFIX, instead of the settings'.",
        show_default=False,
        parser=_parse_target,
        metavar="TARGET",
    ),
]
Identity = Annotated[
    Path | None,
    typer.Option(
        "--identity", "-i", help="File with a secret key of age (`age-keygen`).", show_default=False
    ),
]
Backup = Annotated[
    str | None, typer.Option("--backup", help="Its id, as `list` shows it.", show_default="the newest")
]


@backup.command()
def create(directory: Directory = Path(), target: Target = None, as_json: AsJson = False) -> None:
    """Copy database, objects, keys and settings to the target. The project may run."""
    settings = load_project(directory)
    shelf = backups.open_place(settings, backups.Place(target), may_write=True)
    with open_database(settings) as access:
        made = backups.create_backup(settings, access, shelf, _tell)
    _print(_describe(made), as_json=as_json)


@backup.command("list")
def list_(
    directory: Directory = Path(), target: Target = None, identity: Identity = None, as_json: AsJson = False
) -> None:
    """Every complete backup at the target, the oldest first."""
    settings = _load(directory)
    found = backups.list_backups(backups.open_place(settings, backups.Place(target, identity)))
    if as_json:
        typer.echo(orjson.dumps([_describe(each) for each in found]).decode())
        return
    for each in found:
        facts = _describe(each)
        typer.echo(
            f"{facts['id']}  {facts['created_at']}  {facts['kind']:8}  PostgreSQL {facts['postgres_version']}  "
            f"{facts['size']} bytes  {facts['objects']} objects{'' if facts['sealed'] else '  unsealed'}"
        )
    if not found:
        typer.echo("There are no backups.")


@backup.command()
def verify(
    directory: Directory = Path(),
    backup_id: Backup = None,
    target: Target = None,
    identity: Identity = None,
    as_json: AsJson = False,
) -> None:
    """Read everything that a backup needs and compare checksums, without restoring it. Exit code 1 when something is
    missing or damaged."""
    settings = _load(directory)
    shelf = backups.open_place(settings, backups.Place(target, identity))
    report = backups.verify_backup(shelf, _choose(shelf, backup_id), _tell)
    facts = {
        "id": report.manifest.id,
        "files": report.files,
        "bytes": report.bytes,
        "objects": report.objects,
        "problems": report.problems,
    }
    _report(facts, f"{report.files} files and {report.objects} objects read", as_json=as_json)


@backup.command()
def rehearse(
    directory: Directory = Path(),
    backup_id: Backup = None,
    target: Target = None,
    identity: Identity = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into a temporary folder, start PostgreSQL there, compare rows, checksums and objects with what
    the backup says, and remove it. Exit code 1 when something differs."""
    settings = _load(directory)
    shelf = backups.open_place(settings, backups.Place(target, identity))
    report = backups.rehearse_backup(settings, shelf, _choose(shelf, backup_id), _tell)
    facts = {
        "id": report.manifest.id,
        "tables": report.tables_compared,
        "rows": report.rows,
        "objects": report.objects,
        "problems": report.problems,
    }
    done = f"{report.tables_compared} tables with {report.rows} rows compared, {report.objects} objects read"
    _report(facts, done, as_json=as_json)


@backup.command()
def restore(
    directory: Directory = Path(),
    backup_id: Backup = None,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="`latest`: all that is archived; `backup`: what the backup shows; or a moment, such as "
            "2026-11-26T12:00:00Z (UTC without a zone).",
        ),
    ] = "latest",
    timeline: Annotated[
        int | None,
        typer.Option(help="Follow this timeline of the log, to undo an earlier restore.", show_default=False),
    ] = None,
    target: Target = None,
    identity: Identity = None,
    force: Annotated[
        bool, typer.Option("--force", help="Stop the project that is there and move its state aside.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the project what it was at a moment. What is there now is kept, beside it."""
    request = backups.RestoreRequest(backup_id=backup_id, to=_parse_to(to), timeline=timeline)
    settings = _load(directory)
    shelf = backups.open_place(settings, backups.Place(target, identity))
    if settings.db.url:
        _restore_external(settings, shelf, request, force=force, as_json=as_json)
        return
    if not force and (find_running(settings.state_dir) is not None or backups.is_in_use(settings)):
        raise backups.BackupError("restore_refused", place=settings.project_dir)
    backups.choose_backup(shelf, request)  # what is asked for and is not there stops no project
    stop_project(settings)
    with hold_project(settings.state_dir):
        if backups.is_in_use(settings):
            private_cluster(settings).stop()  # a supervisor that was killed may have left it running
        done = backups.restore_backup(settings, shelf, request, _tell)
    facts = {
        "id": done.manifest.id,
        "objects": done.objects,
        "missing_objects": done.missing_objects,
        "aside": str(done.aside) if done.aside else None,
    }
    if as_json:
        typer.echo(orjson.dumps(facts).decode())
        return
    if done.missing_objects:
        typer.echo(f"Warning: {done.missing_objects} of {done.objects} objects have no bytes.")
    if done.aside:
        typer.echo(f"The earlier state is in {done.aside}.")
    typer.echo(f"Restored. Run `basalt start {directory}`, and make a new backup.")


def _restore_external(settings: Settings, shelf: Any, request: Any, *, force: bool, as_json: bool) -> None:
    if isinstance(request.to, datetime):
        reason = "A dump shows one moment; restores to any other are the business of the database's provider"
        raise backups.BackupError("restore_not_possible", reason=reason)
    manifest = backups.choose_backup(shelf, request)
    if manifest.log is not None:
        reason = "The backup is of a private cluster; restore it without DATABASE_URL, then `basalt db dump`"
        raise backups.BackupError("restore_not_possible", reason=reason)
    assert settings.db.url is not None
    access = access_from_url(settings.db.url, settings.state_dir)
    objects, missing, aside = backups.restore_dump(settings, access, shelf, manifest, _tell, force=force)
    facts = {"id": manifest.id, "objects": objects, "missing_objects": missing, "aside": aside}
    if as_json:
        typer.echo(orjson.dumps(facts).decode())
        return
    if aside:
        typer.echo(f"The earlier database is {aside}.")
    typer.echo(f"Restored {objects} objects, {missing} of them without bytes.")


def _load(directory: Path) -> Settings:
    """Also of a folder that holds no project yet: its settings may be in the backup, or in the environment."""
    return load_settings(directory, os.environ)


def _choose(shelf: Any, backup_id: str | None) -> Any:
    return backups.choose_backup(shelf, backups.RestoreRequest(backup_id=backup_id))


def _parse_to(text: str) -> Literal["latest", "backup"] | datetime:
    """
    >>> _parse_to("latest"), _parse_to("2026-11-26T12:00:00").isoformat()
    ('latest', '2026-11-26T12:00:00+00:00')
    """
    match text:
        case "latest" | "backup":
            return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise typer.BadParameter(
            f"{text!r} is neither latest nor backup nor a time", param_hint="--to"
        ) from exc
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _describe(manifest: Any) -> dict[str, Any]:
    return {
        "id": manifest.id,
        "created_at": f"{manifest.created_at:%Y-%m-%dT%H:%M:%SZ}",
        "kind": manifest.kind,
        "project_id": manifest.project_id,
        "postgres_version": manifest.postgres_version,
        "basalt_version": manifest.basalt_version,
        "size": manifest.size,
        "objects": manifest.object_count,
        "object_bytes": manifest.object_bytes,
        "missing_objects": manifest.missing_objects,
        "sealed": manifest.sealed,
    }


def _print(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps(facts).decode())
    else:
        typer.echo(f"Backup {facts['id']} is complete.")


def _report(facts: dict[str, Any], done: str, *, as_json: bool) -> None:
    problems = facts["problems"]
    if as_json:
        typer.echo(orjson.dumps(facts).decode())
    else:
        for problem in problems:
            typer.echo(f"Problem: {problem}")
        typer.echo(f"{facts['id']}: {done}, {len(problems)} problems.")
    if problems:
        raise typer.Exit(FOUND_WRONG)


def _tell(text: str) -> None:
    typer.echo(text, err=True)
