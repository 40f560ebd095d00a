"""`basalt signing-keys`: the asymmetric keys that access tokens are signed with."""

from pathlib import Path
from typing import Annotated

import orjson
import typer

from basalt.access import Algorithm, load_signing_jwks, revoke, rotate, state_of, store_signing_jwks
from basalt.cli.options import AsJson, Directory, load_project
from basalt.config import Settings
from basalt.errors import BasaltError

signing_keys = typer.Typer(help="The keys that access tokens are signed with.", no_args_is_help=True)


@signing_keys.command("list")
def list_(directory: Directory = Path(), as_json: AsJson = False) -> None:
    """Show the project's own keys: the one that signs, the one that stands by, those that still verify."""
    jwks = load_signing_jwks(_settings(directory).state_dir)
    rows = [
        {"kid": jwk["kid"], "algorithm": jwk["alg"], "state": state_of(jwks, index)}
        for index, jwk in enumerate(jwks)
    ]
    if as_json:
        typer.echo(orjson.dumps(rows).decode())
        return
    for row in rows:
        typer.echo(f"{row['state']:8}  {row['kid']}  {row['algorithm']}")


@signing_keys.command("rotate")
def rotate_(
    directory: Directory = Path(),
    algorithm: Annotated[
        Algorithm, typer.Option(help="Of the key that signs and its standby key.")
    ] = "ES256",
) -> None:
    """Let the standby key sign. Tokens of the present key stay valid; nobody is logged out."""
    settings = _settings(directory)
    jwks = rotate(load_signing_jwks(settings.state_dir), algorithm)
    store_signing_jwks(settings.state_dir, jwks)
    typer.echo(f"{jwks[0]['kid']} signs from the next start on; {jwks[1]['kid']} stands by.")
    if settings.auth.jwt_algorithm == "HS256":
        typer.echo('Tokens are signed with the JWT secret until auth.jwt_algorithm is "ES256".')


@signing_keys.command("revoke")
def revoke_(
    kid: Annotated[str, typer.Argument(help="As `list` shows it.")], directory: Directory = Path()
) -> None:
    """Forget a key. What it signed is refused from the next start on."""
    state_dir = _settings(directory).state_dir
    store_signing_jwks(state_dir, revoke(load_signing_jwks(state_dir), kid))
    typer.echo(f"{kid} is revoked.")


def _settings(directory: Path) -> Settings:
    settings = load_project(directory)
    if settings.auth.signing_keys_path is not None:
        raise BasaltError(
            "signing_keys_configured",
            400,
            f"The keys of this project are in {settings.auth.signing_keys_path}",
            hint="Edit that file: the first key signs, the others verify",
        )
    return settings
