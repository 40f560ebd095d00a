"""`basalt functions`: make, list, call and watch the functions of a project."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import httpx2
import orjson
import typer

from basalt.access import ProjectKeys, load_project_keys
from basalt.cli.function_lines import print_line
from basalt.cli.options import AsJson, Directory, load_project
from basalt.cli.projects import NOT_RUNNING, start
from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.functions import LogFollower, check_functions, create_function, list_functions, read_log
from basalt.supervisor import find_running

functions = typer.Typer(help="Functions: make, list, call, watch.", no_args_is_help=True)

CALL_LIMIT_S = 600.0
FOLLOW_PAUSE_S = 0.25
TOKEN_LIFE_S = 300
FAILED = 1
# What functions can do without; the worker is not needed to call them.
LEFT_OUT = {
    "BASALT_WORKER_MODE": "off",
    "SUPABASE_REALTIME_ENABLED": "false",
    "SUPABASE_STUDIO_ENABLED": "false",
}

Name = Annotated[str, typer.Argument(help="The function's name.")]


@functions.command()
def new(name: Name, directory: Directory = Path()) -> None:
    """Make `supabase/functions/NAME/index.py`, a function that greets. Overwrites nothing."""
    typer.echo(create_function(load_project(directory), name))


@functions.command("list")
def list_all(directory: Directory = Path(), as_json: AsJson = False) -> None:
    """Every function: its language, its file, who may call it, its schedule, and why it does not load, if so. Exit code
    1 when one does not."""
    settings = load_project(directory)
    found = list_functions(settings)
    problems = check_functions(settings, found)
    rows = [
        {
            "name": function.name,
            "kind": "python" if function.is_python else "deno",
            "entrypoint": str(function.entrypoint.relative_to(settings.project_dir)),
            "verify_jwt": function.settings.verify_jwt,
            "schedule": function.settings.schedule,
            "problem": problems.get(function.name),
        }
        for function in found
    ]
    if as_json:
        typer.echo(orjson.dumps(rows).decode())
    else:
        for row in rows:
            _print_row(row)
    if any(row["problem"] for row in rows):
        raise typer.Exit(FAILED)


@functions.command()
def invoke(
    name: Name,
    directory: Directory = Path(),
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="The body: JSON, or @FILE for a file's bytes.")
    ] = None,
    method: Annotated[str, typer.Option("--method", "-X")] = "POST",
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="`Name: value`; several times.")
    ] = None,
    caller: Annotated[
        str, typer.Option("--as", help="Who calls: `anon`, `service`, or the id of a user.")
    ] = "service",
) -> None:
    """Call a function of the running project; print status and body. Exit code 1 for a status of 400 and above."""
    settings = load_project(directory)
    if find_running(settings.state_dir) is None:
        typer.echo("Not running.")
        raise typer.Exit(NOT_RUNNING)
    keys = load_project_keys(settings.state_dir, settings)
    headers = {**_credentials(keys, settings, caller), **_parse_headers(header or [])}
    body = _read_body(data)
    if body and "content-type" not in headers:
        headers["content-type"] = "application/json" if not (data or "").startswith("@") else _kind_of(data)
    url = f"http://{settings.api.host}:{settings.api.port}/functions/v1/{name}"
    with (
        httpx2.Client(timeout=CALL_LIMIT_S, trust_env=False) as client,
        client.stream(method.upper(), url, headers=headers, content=body) as answer,
    ):
        typer.echo(f"{answer.status_code} {answer.headers.get('content-type', '')}".rstrip(), err=True)
        for chunk in answer.iter_bytes():
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
    typer.echo("", err=True)
    if answer.status_code >= 400:
        raise typer.Exit(FAILED)


@functions.command()
def logs(
    name: Name,
    directory: Directory = Path(),
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    request: Annotated[
        str | None, typer.Option("--request", help="Only of the request with this id.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="The last so many lines.")] = 100,
    as_json: AsJson = False,
) -> None:
    """What a function did and printed: calls with status and time, its lines, exceptions, what happened to its
    processes."""
    settings = load_project(directory)
    follower = LogFollower(settings.state_dir, name)
    if limit:
        for line in read_log(settings.state_dir, name, request_id=request, limit=limit):
            print_line(line, as_json=as_json)
    while follow:
        for line in follower.read():
            if request is None or line.get("request_id") == request:
                print_line(line, as_json=as_json)
        time.sleep(FOLLOW_PAUSE_S)


@functions.command()
def serve(directory: Directory = Path()) -> None:
    """Start the project in the foreground with its functions and what they need: database, REST, Auth and Storage, but
    no Realtime, console or worker. What functions print appears here, as with `basalt start`."""
    os.environ.update(LEFT_OUT)
    start(directory)


def _print_row(row: dict[str, Any]) -> None:
    access = "" if row["verify_jwt"] else "  open to all"
    schedule = f"  at {row['schedule']}" if row["schedule"] else ""
    typer.echo(f"{row['name']}  {row['kind']}  {row['entrypoint']}{access}{schedule}")
    if row["problem"]:
        typer.echo(f"    {row['problem']}")


def _credentials(keys: ProjectKeys, settings: Settings, caller: str) -> dict[str, str]:
    if caller == "anon":
        return {"apikey": keys.publishable_key}
    if caller == "service":
        return {"apikey": keys.secret_key}
    now = int(time.time())
    token = keys.sign(
        {
            "sub": caller,
            "role": "authenticated",
            "aud": "authenticated",
            "iss": f"{settings.api_url}/auth/v1",
            "iat": now,
            "exp": now + TOKEN_LIFE_S,
        }
    )
    return {"apikey": keys.publishable_key, "authorization": f"Bearer {token}"}


def _parse_headers(given: list[str]) -> dict[str, str]:
    headers = {}
    for one in given:
        name, separator, value = one.partition(":")
        if not separator:
            raise BasaltError("header_invalid", 400, f"{one!r} is no header; write `Name: value`")
        headers[name.strip().lower()] = value.strip()
    return headers


def _read_body(data: str | None) -> bytes:
    if data is None or not data.startswith("@"):
        return (data or "").encode()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as exc:
        raise BasaltError("body_unreadable", 400, f"{data[1:]}: {exc.strerror}") from exc


def _kind_of(data: str | None) -> str:
    return "application/json" if (data or "").endswith(".json") else "application/octet-stream"
