"""`basalt keys`: what clients and scripts need to connect."""

from pathlib import Path

import orjson
import typer

from basalt.access import load_project_keys
from basalt.cli.options import AsJson, Directory, load_project
from basalt.storage import s3_key_pair
from basalt.supervisor import find_running


def keys(directory: Directory = Path(), as_json: AsJson = False) -> None:
    """Print the project's API keys, JWT secret and S3 keys; made now if it never ran. The address is the running
    project's, else the one of its settings."""
    settings = load_project(directory)
    running = find_running(settings.state_dir)
    api_url = running.api_url if running else settings.api_url
    project = load_project_keys(settings.state_dir, settings)
    access_key_id, secret_access_key = s3_key_pair(settings.basalt.storage, project)
    facts = {
        "api_url": api_url,
        "publishable_key": project.publishable_key,
        "secret_key": project.secret_key,
        "anon_key": project.anon_key,
        "service_role_key": project.service_role_key,
        "jwt_secret": project.jwt_secret,
        "s3_url": f"{api_url}/storage/v1/s3",
        "s3_region": settings.basalt.storage.s3_region,
        "s3_access_key_id": access_key_id,
        "s3_secret_access_key": secret_access_key,
    }
    if as_json:
        typer.echo(orjson.dumps(facts).decode())
        return
    for name, value in facts.items():
        typer.echo(f"{name.upper()}={value}")
