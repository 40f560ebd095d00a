"""`basalt keys`: what clients and scripts need to connect."""

from pathlib import Path

import orjson
import typer

from basalt.access import load_project_keys
from basalt.cli.options import AsJson, Directory, load_project


def keys(directory: Directory = Path(), as_json: AsJson = False) -> None:
    """Print the project's API keys and JWT secret; made now if it never ran."""
    settings = load_project(directory)
    project = load_project_keys(settings.state_dir, settings)
    facts = {
        "api_url": settings.api_url,
        "publishable_key": project.publishable_key,
        "secret_key": project.secret_key,
        "anon_key": project.anon_key,
        "service_role_key": project.service_role_key,
        "jwt_secret": project.jwt_secret,
    }
    if as_json:
        typer.echo(orjson.dumps(facts).decode())
        return
    for name, value in facts.items():
        typer.echo(f"{name.upper()}={value}")
