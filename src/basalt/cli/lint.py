"""`basalt lint`: what is unsafe or slow in a database's schema, and the SQL that mends it."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import orjson
import typer

from basalt import project
from basalt.cli.database import find_conninfo
from basalt.cli.findings import print_findings
from basalt.cli.options import Directory, load_project

if TYPE_CHECKING:
    from basalt.postgres import Finding
    from basalt.project import LintReport

WRONG: Final = 1
API_SCHEMAS: Final = ("public",)  # of a database without a project
COMMANDS: Final[dict[str, str]] = {"error": "error", "warning": "warning", "info": "notice"}


class Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


def lint(
    directory: Directory = Path(),
    db_url: Annotated[
        str | None,
        typer.Option(help="Look at this database, with or without a project.", show_default=False),
    ] = None,
    migrations: Annotated[
        bool,
        typer.Option("--migrations", help="Look at a throw-away database made from the migrations."),
    ] = False,
    level: Annotated[Level, typer.Option(help="The least that is told.")] = Level.INFO,
    format_: Annotated[
        Format, typer.Option("--format", help="github: annotations of a workflow.")
    ] = Format.TEXT,
    schema: Annotated[
        list[str] | None, typer.Option(help="Only this schema; may be repeated.", show_default="all")
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Print one SQL script of all mends instead. It is never run.")
    ] = False,
) -> None:
    """Tell what is unsafe or slow in the schema, with the SQL that mends it. Changes nothing. Exit code 1: errors."""
    if db_url and migrations:
        raise typer.BadParameter("give --db-url or --migrations", param_hint="--migrations")
    has_project = (directory / "supabase").is_dir()
    settings = load_project(directory) if has_project or not db_url else None
    api_schemas = settings.basalt.rest.db_schemas if settings is not None else API_SCHEMAS
    with find_conninfo(settings, db_url, is_throwaway=migrations) as conninfo:
        report = project.lint_database(
            conninfo, api_schemas=api_schemas, level=level.value, only=schema or ()
        )
    if fix:
        typer.echo(project.render_mends(report.findings), nl=False)
    else:
        _show(report, format_)
    if report.has_errors:
        raise typer.Exit(WRONG)


def _show(report: "LintReport", shape: Format) -> None:
    match shape:
        case Format.TEXT:
            print_findings(report.findings, report.unseen, report.looked)
        case Format.JSON:
            unseen = [{"what": what, "reason": reason} for what, reason in report.unseen]
            findings = [asdict(finding) for finding in report.findings]
            typer.echo(
                orjson.dumps({"ok": not report.has_errors, "findings": findings, "unseen": unseen}).decode()
            )
        case Format.GITHUB:
            for finding in report.findings:
                typer.echo(_render_annotation(finding))
            for what, reason in report.unseen:
                typer.echo(f"::error title={_escape_property(what)}::{_escape(f'could not look: {reason}')}")


def _render_annotation(finding: "Finding") -> str:
    """A workflow command of GitHub Actions."""
    text = f"{finding.subject} {finding.what}. {finding.why}" + (
        f"\n{finding.remedy}" if finding.remedy else ""
    )
    return f"::{COMMANDS[finding.severity]} title={_escape_property(finding.check)}::{_escape(text)}"


def _escape(text: str) -> str:
    """
    >>> _escape("100%\\n::error::")
    '100%25%0A::error::'
    """
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
