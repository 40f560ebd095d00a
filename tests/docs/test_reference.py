"""What a user can set, call or meet as an error appears in the reference."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from basalt.cli.main import app
from basalt.config.reference import render_reference

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_settings_page_is_up_to_date() -> None:
    assert (DOCS / "reference" / "settings.md").read_text("utf-8") == render_reference()


def test_every_command_is_described() -> None:
    page = (DOCS / "reference" / "cli.md").read_text("utf-8")
    missing = [name for name in command_names(typer.main.get_command(app)) if f"`basalt {name} " not in page]
    assert not missing


def command_names(command: Any, prefix: str = "") -> Iterator[str]:
    for name, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            yield from command_names(child, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}"


def test_the_errors_page_is_up_to_date() -> None:
    printed = subprocess.run(
        [sys.executable, DOCS.parent / "tools" / "errors_reference.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (DOCS / "reference" / "errors.md").read_text("utf-8") == printed.stdout
