"""`basalt start`: this process becomes the project's supervisor, which keeps none of the command line in memory."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn


def become_supervisor(directory: Path, *, as_json: bool) -> NoReturn:
    options = ["--json"] if as_json else []
    command = [sys.executable, "-P", "-m", "basalt.start", *options, "--", str(directory)]
    os.execv(sys.executable, command)  # noqa: S606  itself


def start_at_once(arguments: Sequence[str]) -> None:
    """`start [DIR] [--json]` for a project's folder: the same without the libraries of the command line, which take
    a third of a second. Returns when it is anything else: help, a mistake, another command."""
    words = [word for word in arguments[1:] if word != "--json"]
    directory = Path(*words)
    is_plain = (
        arguments[:1] == ["start"] and len(words) <= 1 and not any(word.startswith("-") for word in words)
    )
    if is_plain and (directory / "supabase").is_dir():
        become_supervisor(directory, as_json="--json" in arguments)
