"""Secrets that everybody knows, or that others may read."""

from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from basalt.config import Settings, find_literal_secrets
from basalt.project.doctor.setting_check import SettingCheck, Smell

# Published: in the Supabase CLI and in its guide to self-hosting.
KNOWN_SECRETS: Final = frozenset(
    {
        "super-secret-jwt-token-with-at-least-32-characters-long",
        "your-super-secret-jwt-token-with-at-least-32-characters-long",
        "your-super-secret-and-long-postgres-password",
        "sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz",
    }
)
FEWEST_LETTERS: Final = 10  # different ones, in a secret of 32 characters; at random it has about 25


def _known_secrets(settings: Settings) -> Iterator[Smell]:
    auth = settings.auth
    for key, value in (("auth.jwt_secret", auth.jwt_secret), ("auth.secret_key", auth.secret_key)):
        if value in KNOWN_SECRETS:
            yield "error", key, "is a published example", "leave it out: the first start makes one"
        elif value and len(set(value)) < FEWEST_LETTERS:
            yield "error", key, "is easily guessed", "leave it out, or take `openssl rand -base64 48`"
    if settings.basalt.secrets.key and len(set(settings.basalt.secrets.key)) < FEWEST_LETTERS:
        yield "error", "basalt.secrets.key", "is easily guessed", "openssl rand -base64 32"
    if settings.db.url and urlsplit(settings.db.url).password in {"postgres", "password", *KNOWN_SECRETS}:
        yield "error", "db.url", "has a password that everybody tries first", "alter role … password '…';"


def _literal_secrets(settings: Settings) -> Iterator[Smell]:
    for key in find_literal_secrets(settings.supabase_dir / "config.toml"):
        yield (
            "warning",
            key,
            "stands in config.toml, which goes into version control",
            f'{key.rpartition(".")[2]} = "env({key.upper().replace(".", "_")})"',
        )


def _open_files(settings: Settings) -> Iterator[Smell]:
    paths = [
        *(settings.state_dir / name for name in ("keys.json", "database.json", "secrets.key")),
        *(folder / ".env" for folder in (settings.project_dir, settings.supabase_dir)),
    ]
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if mode & 0o007:
            yield (
                "warning" if path.name == ".env" else "error",
                str(path),
                "may be read by every user of this machine",
                f"chmod 600 {path}",
            )


SECRET_CHECKS: Final[Sequence[SettingCheck]] = (
    SettingCheck(
        name="known_secrets",
        title="Secrets that others know",
        why="Whoever knows it makes tokens of any user, or is the service role.",
        look=_known_secrets,
    ),
    SettingCheck(
        name="literal_secrets",
        title="Secrets in config.toml",
        why="The file is shared with everybody who sees the repository, for ever.",
        look=_literal_secrets,
    ),
    SettingCheck(
        name="open_files",
        title="Files with secrets that others may read",
        why="Any process of this machine can be the service role.",
        look=_open_files,
    ),
)
