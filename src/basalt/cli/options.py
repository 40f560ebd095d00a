"""Arguments that several commands share."""

import os
from pathlib import Path
from typing import Annotated

import typer

from basalt.config import Settings, load_settings
from basalt.errors import BasaltError

Directory = Annotated[
    Path, typer.Argument(help="The project's folder: the one that holds supabase/.", show_default="here")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def load_project(directory: Path) -> Settings:
    """The settings of a project folder. Raises BasaltError when it is none."""
    if not (directory / "supabase").is_dir():
        raise BasaltError(
            "not_a_project",
            400,
            f"{directory} holds no supabase/ folder",
            hint=f"`basalt init {directory}` makes one",
        )
    return load_settings(directory, os.environ)
