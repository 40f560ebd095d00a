"""`basalt rest`: REST alone over any database, in the place of a PostgREST."""

import os
from typing import Annotated

import typer

import basalt.gateway
from basalt.config import load_standalone_settings
from basalt.start import report_settings_without_effect


def rest(
    db_url: Annotated[
        str | None,
        typer.Option(help="The database and its login role; by default PGRST_DB_URI.", show_default=False),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on; by default PGRST_SERVER_HOST or 127.0.0.1.", show_default=False
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on; by default PGRST_SERVER_PORT or 3000.", show_default=False),
    ] = None,
) -> None:
    """Serve REST at the root over an existing database, configured by PGRST_… variables as PostgREST is. No project."""
    given = {"PGRST_DB_URI": db_url, "PGRST_SERVER_HOST": host, "PGRST_SERVER_PORT": port}
    settings = load_standalone_settings(
        {**os.environ, **{name: str(value) for name, value in given.items() if value is not None}}
    )
    report_settings_without_effect(settings)
    basalt.gateway.serve_rest(settings)
