"""`basalt secrets`: what functions find in their environment, kept sealed in the project's database."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import orjson
import typer

from basalt.access import (
    Sealer,
    add_sealing_key,
    check_name,
    list_secrets,
    load_sealer,
    remove_secrets,
    reseal_secrets,
    store_secrets,
)
from basalt.cli.database import open_database
from basalt.cli.options import AsJson, Directory, load_project
from basalt.config import Settings, read_dotenv
from basalt.errors import BasaltError
from basalt.postgres import rotate_vault_key

secrets = typer.Typer(help="Secrets of functions, and the keys that seal them.", no_args_is_help=True)

RESERVED = "SUPABASE_"
Project = Annotated[
    Path, typer.Option("--project", "-p", help="The project's folder: the one that holds supabase/.")
]


@secrets.command("set")
def set_(
    pairs: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE…", help="A NAME alone is asked for.")
    ] = None,
    project: Project = Path(),
    env_file: Annotated[Path | None, typer.Option(help="Take all variables of this .env file too.")] = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read the value of the one NAME from there.")
    ] = False,
) -> None:
    """Store secrets, all or none. Running functions see them at their next call."""
    settings = load_project(project)
    values = dict(_file_values(env_file)) if env_file is not None else {}
    values |= _stdin_value(pairs or []) if stdin else dict(map(_pair, pairs or []))
    if not values:
        raise BasaltError("no_secrets_given", 400, "Nothing to set", hint="basalt secrets set NAME=VALUE")
    with open_database(settings) as access:
        store_secrets(access.conninfo("supabase_admin"), _sealer(settings), values)
    typer.echo(f"Set: {', '.join(values)}.")


@secrets.command("list")
def list_(directory: Directory = Path(), as_json: AsJson = False) -> None:
    """Show names and SHA-256 digests, never values."""
    settings = load_project(directory)
    with open_database(settings) as access:
        found = list_secrets(access.conninfo("supabase_admin"), _sealer(settings))
    if as_json:
        rows = [{"name": one.name, "value": one.digest, "updated_at": one.updated_at} for one in found]
        typer.echo(orjson.dumps(rows).decode())
        return
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        typer.echo(f"{one.name:{width}}  {one.digest}")


@secrets.command()
def unset(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="As `list` shows them.")],
    project: Project = Path(),
) -> None:
    """Forget secrets. Exit code 1 when there is none of these names."""
    with open_database(load_project(project)) as access:
        removed = remove_secrets(access.conninfo("supabase_admin"), names)
    if not removed:
        raise BasaltError("unknown_secret", 400, f"There is no secret {', '.join(names)}")
    typer.echo(f"Unset: {', '.join(removed)}.")


@secrets.command()
def rotate(directory: Directory = Path()) -> None:
    """Make new keys and seal all secrets anew, those of functions and those of Vault."""
    settings = load_project(directory)
    with open_database(settings) as access:
        if settings.basalt.secrets.key is None:
            add_sealing_key(settings.state_dir)
        resealed = reseal_secrets(access.conninfo("supabase_admin"), _sealer(settings))
        typer.echo(f"{resealed} secrets of functions sealed anew.")
        typer.echo(f"{rotate_vault_key(access, settings.state_dir)} secrets of Vault sealed anew.")


def _sealer(settings: Settings) -> Sealer:
    return load_sealer(settings.state_dir, settings.basalt.secrets.key)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    check_name(name)
    return name, value if equals else typer.prompt(name, hide_input=True)


def _stdin_value(names: list[str]) -> Mapping[str, str]:
    """As it comes, but for one line end behind it, which `echo` and editors leave."""
    if len(names) != 1 or "=" in names[0]:
        raise BasaltError(
            "no_secrets_given", 400, "--stdin needs one NAME", hint="… | basalt secrets set NAME --stdin"
        )
    try:
        value = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise BasaltError("invalid_secret_value", 400, f"The value of {names[0]} is not UTF-8") from None
    return {names[0]: value.removesuffix("\n").removesuffix("\r")}


def _file_values(path: Path) -> Iterator[tuple[str, str]]:
    try:
        variables = read_dotenv(path)
    except (OSError, UnicodeDecodeError) as exc:
        raise BasaltError("env_file_unreadable", 400, f"{path} cannot be read: {exc}") from None
    for name, value in variables.items():
        if name.startswith(RESERVED):
            typer.echo(f"Passing over {name}: names that start with {RESERVED} are Basalt's own.", err=True)
        else:
            yield name, value
