"""`basalt flags`: feature flags, their switches and percentages, and who changed what."""

import getpass
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from basalt.cli.database import open_database
from basalt.cli.options import AsJson, load_project
from basalt.cli.tables import print_columns, print_json
from basalt.errors import BasaltError
from basalt.flags import (
    AuditRow,
    FlagRow,
    delete_flag,
    ensure_cohort,
    ensure_flag,
    list_audit,
    list_flags,
    switch_flag,
    target_cohort,
)

flags = typer.Typer(help="Feature flags: who has what, and who changed it.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The flag's name.", show_default=False)]
Project = Annotated[
    Path, typer.Option("--project", "-p", help="The project's folder: the one that holds supabase/.")
]
Percentage = Annotated[float, typer.Argument(min=0, max=100, help="Of the users.", show_default=False)]


@flags.command("list")
def list_(project: Project = Path(), as_json: AsJson = False) -> None:
    """Every flag with its switch, percentage, values and cohorts."""
    with open_database(load_project(project)) as access:
        found = list_flags(access)
    if as_json:
        print_json([asdict(flag) for flag in found])
        return
    print_columns(["name", "", "rollout", "values", "cohorts"], [_show(flag) for flag in found])


@flags.command("set")
def set_(
    name: Name,
    project: Project = Path(),
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    off: Annotated[
        str | None, typer.Option("--off-value", help="Value, as JSON, of those who do not have it.")
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option("--variant", help="NAME=JSON or NAME:WEIGHT=JSON; several share the users by weight."),
    ] = None,
    public: Annotated[
        bool | None, typer.Option("--public/--private", help="Whether clients find it in flags.mine.")
    ] = None,
    starts: Annotated[datetime | None, typer.Option(help="When it begins, in UTC.")] = None,
    ends: Annotated[datetime | None, typer.Option(help="When it ends, in UTC.")] = None,
) -> None:
    """Make a flag, which is off, or change what is given of one."""
    with open_database(load_project(project)) as access:
        ensure_flag(
            access,
            name,
            actor=_actor(),
            description=description,
            off_value=None if off is None else _json(off),
            variants=[_variant(text) for text in variant] if variant else None,
            is_public=public,
            starts_at=starts and starts.replace(tzinfo=UTC),
            ends_at=ends and ends.replace(tzinfo=UTC),
        )
    typer.echo(f"{name} is set.")


@flags.command()
def on(name: Name, project: Project = Path()) -> None:
    """Turn a flag on, for those whom its cohorts and its percentage take in."""
    with open_database(load_project(project)) as access:
        switch_flag(access, name, actor=_actor(), enabled=True)
    typer.echo(f"{name} is on.")


@flags.command()
def off(name: Name, project: Project = Path()) -> None:
    """Turn a flag off for everybody, at once: the kill switch."""
    with open_database(load_project(project)) as access:
        switch_flag(access, name, actor=_actor(), enabled=False)
    typer.echo(f"{name} is off.")


@flags.command()
def rollout(name: Name, percentage: Percentage, project: Project = Path()) -> None:
    """Give a flag to a percentage of the users. Who has it keeps it while the percentage grows."""
    with open_database(load_project(project)) as access:
        is_on = switch_flag(access, name, actor=_actor(), rollout=percentage)
    typer.echo(f"{name} is for {percentage:g} %{'' if is_on else ', once it is on'}.")


@flags.command()
def cohort(
    name: Annotated[str, typer.Argument(help="The cohort's name.", show_default=False)],
    project: Project = Path(),
    add: Annotated[list[str] | None, typer.Option(help="A user's id.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="A user's id.")] = None,
    claims: Annotated[
        str | None, typer.Option(help='What a token must contain: \'{"app_metadata": {"tier": "pro"}}\'.')
    ] = None,
) -> None:
    """Make a group of users, by their ids or by their claims, or change it."""
    condition = None if claims is None else _json(claims)
    if condition is not None and not isinstance(condition, dict):
        raise BasaltError("flag_invalid", 400, "The claims of a cohort are a JSON object")
    with open_database(load_project(project)) as access:
        ensure_cohort(access, name, actor=_actor(), added=add or [], removed=remove or [], claims=condition)
    typer.echo(f"{name} is set.")


@flags.command()
def target(
    name: Name,
    cohort: Annotated[str, typer.Argument(help="The cohort's name.", show_default=False)],
    project: Project = Path(),
    rollout: Annotated[float, typer.Option(min=0, max=100, help="Percentage of the cohort.")] = 100,
    variant: Annotated[str | None, typer.Option(help="Which variant; by default by the weights.")] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Decide nothing about the cohort any more.")
    ] = False,
) -> None:
    """Let a flag decide about a cohort apart from its percentage. The first rule that fits a user counts."""
    percentage = None if remove else rollout
    with open_database(load_project(project)) as access:
        target_cohort(access, name, cohort, actor=_actor(), rollout=percentage, variant=variant)
    typer.echo(f"{name} {'passes over' if remove else 'decides about'} {cohort}.")


@flags.command()
def audit(
    name: Annotated[str, typer.Argument(help="A flag or cohort.", show_default="all")] = "",
    project: Project = Path(),
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The newest changes: who, when, before and after."""
    with open_database(load_project(project)) as access:
        rows = list_audit(access, name or None, limit=limit)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_columns(["at", "by", "what", "change"], [_show_change(row) for row in rows])


@flags.command()
def delete(name: Name, project: Project = Path()) -> None:
    """Remove a flag. Who asks for it then has the default of the question; its audit stays."""
    with open_database(load_project(project)) as access:
        delete_flag(access, name, actor=_actor())
    typer.echo(f"{name} is deleted.")


def _actor() -> str:
    with suppress(KeyError, OSError):
        return f"cli:{getpass.getuser()}"
    return "cli"


def _json(text: str) -> Any:
    """Anything but null, which the commands would take for nothing given."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise BasaltError(
            "flag_invalid", 400, f"{text} is not JSON: {exc}", hint="A text has quotes: '\"blue\"'"
        ) from exc
    if value is None:
        raise BasaltError("flag_invalid", 400, "null is no value of a flag, and no claim")
    return value


def _variant(text: str) -> dict[str, Any]:
    """
    >>> _variant('blue:3="#00f"')
    {'name': 'blue', 'value': '#00f', 'weight': 3}
    """
    head, equals, value = text.partition("=")
    name, _, weight = head.partition(":")
    if not equals or not (weight or "1").isdigit():
        raise BasaltError("flag_invalid", 400, f"{text} is no variant", hint="--variant NAME:WEIGHT=JSON")
    return {"name": name, "value": _json(value), "weight": int(weight or "1")}


def _show(flag: FlagRow) -> list[str]:
    values = ", ".join(f"{one['name']}={orjson.dumps(one['value']).decode()}" for one in flag.variants)
    cohorts = ", ".join(f"{rule['cohort']} {float(rule['rollout']):g} %" for rule in flag.rules)
    return [flag.name, "on" if flag.enabled else "off", f"{flag.rollout:g} %", values, cohorts]


def _show_change(row: AuditRow) -> list[str]:
    before, after = row.before or {}, row.after or {}
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    told = row.action
    if row.action == "update":
        told = ", ".join(
            f"{name}: {_short(before.get(name))} → {_short(after.get(name))}"
            for name in changed
            if name != "updated_at"
        )
    at = row.changed_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return [at, row.changed_by, f"{row.subject} {row.name}", told]


def _short(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 60 else text[:59] + "…"
