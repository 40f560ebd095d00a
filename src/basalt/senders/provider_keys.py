"""A provider's key or secret that is none stops the start, by its name in the settings."""

from collections.abc import Callable
from typing import TypeVar

from basalt.config import ConfigError, Problem, Settings

Built = TypeVar("Built")


def build_with_key(settings: Settings, key: str, build: Callable[[], Built]) -> Built:
    """`build` raises ValueError for a key that is none; `key` is its place below the environment's section. Raises
    ConfigError."""
    try:
        return build()
    except ValueError as exc:
        place = "providers" if settings.notify.environment == "production" else "sandbox"
        file = str(settings.supabase_dir / "config.toml")
        raise ConfigError([Problem(file, f"notify.{place}.{key}", str(exc))]) from exc
