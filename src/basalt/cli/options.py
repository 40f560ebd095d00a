"""Arguments that several commands share."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from basalt.errors import BasaltError
from basalt.late import LateModule

if TYPE_CHECKING:
    from basalt import config
    from basalt.config import Settings
else:
    config = LateModule("basalt.config")

Directory = Annotated[
    Path, typer.Argument(help="The project's folder: the one that holds supabase/.", show_default="here")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def check_project(directory: Path) -> None:
    """Raises BasaltError when it is no project's folder."""
    if not (directory / "supabase").is_dir():
        raise BasaltError(
            "not_a_project",
            400,
            f"{directory} holds no supabase/ folder",
            hint=f"`basalt init {directory}` makes one",
        )


def load_project(directory: Path) -> "Settings":
    """The settings of a project folder. Raises BasaltError when it is none."""
    check_project(directory)
    return config.load_settings(directory, os.environ)
