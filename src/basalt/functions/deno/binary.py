"""Where the `deno` binary is: on the PATH, or in this Python environment, where the package `deno` puts it."""

import shutil
import sysconfig
from collections.abc import Mapping
from pathlib import Path

INSTALL = "pip install 'basalt[deno]'"


def find_deno(environ: Mapping[str, str]) -> Path | None:
    """The one on the PATH wins."""
    beside_python = sysconfig.get_path("scripts")
    found = shutil.which("deno", path=environ.get("PATH", "")) or shutil.which("deno", path=beside_python)
    return Path(found) if found else None
