"""Which functions a project has, and where their files are."""

import re
from dataclasses import dataclass
from pathlib import Path

from basalt.config import FunctionSettings, Settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
ENTRYPOINTS = ("index.py", "index.ts", "index.js")


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    entrypoint: Path
    settings: FunctionSettings
    requirements: Path | None

    @property
    def is_python(self) -> bool:
        return self.entrypoint.suffix == ".py"


def find_function(settings: Settings, name: str) -> Function | None:
    """None for what is no function, or is switched off."""
    if not NAME.fullmatch(name):
        return None
    own = settings.function(name)
    if not own.enabled:
        return None
    entrypoint = _find_entrypoint(settings, name, own)
    if entrypoint is None:
        return None
    requirements = None if own.requirements is None else settings.supabase_dir / own.requirements
    return Function(name, entrypoint, own, requirements)


def list_functions(settings: Settings) -> list[Function]:
    """By name; folders that begin with `_` or `.` hold shared code."""
    folder = functions_dir(settings)
    names = {*settings.functions}
    if folder.is_dir():
        names |= {path.name for path in folder.iterdir() if path.is_dir()}
    found = (find_function(settings, name) for name in sorted(names))
    return [function for function in found if function is not None]


def functions_dir(settings: Settings) -> Path:
    return settings.supabase_dir / "functions"


def _find_entrypoint(settings: Settings, name: str, own: FunctionSettings) -> Path | None:
    if own.entrypoint is not None:
        configured = settings.supabase_dir / own.entrypoint
        return configured if configured.is_file() else None
    for file in ENTRYPOINTS:
        path = functions_dir(settings) / name / file
        if path.is_file():
            return path
    return None
