"""Whether functions load: each is started once, away from what serves."""

import asyncio
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from basalt.config import Settings
from basalt.functions.errors import FunctionError
from basalt.functions.functions import Function, functions_dir
from basalt.functions.packages import Packages
from basalt.functions.runtime import WorkerConfig
from basalt.functions.zygote_link import Zygote


def check_functions(settings: Settings, functions: Sequence[Function]) -> dict[str, str | None]:
    """By name what is wrong, None where nothing is. Only Python functions are started; they see no secrets and no
    database."""
    return asyncio.run(_check(settings, functions))


async def _check(settings: Settings, functions: Sequence[Function]) -> dict[str, str | None]:
    zygote = Zygote(os.environ)
    packages = Packages(settings.state_dir, os.environ)
    try:
        return {
            function.name: await _problem(function, settings, zygote, packages)
            for function in functions
            if function.is_python
        }
    finally:
        await zygote.close()


async def _problem(function: Function, settings: Settings, zygote: Zygote, packages: Packages) -> str | None:
    try:
        folder = None if function.requirements is None else packages.find(function.requirements)
        if function.requirements is not None and folder is None:
            return "its packages are not installed yet; the first call does that"
        process = await zygote.fork(_config(function, settings, folder), lambda _id, _line: None)
    except FunctionError as error:
        return error.message.removeprefix("The function cannot be loaded: ")
    await process.close()
    return None


def _config(function: Function, settings: Settings, packages: Path | None) -> WorkerConfig:
    environ: Mapping[str, str] = {"PATH": os.environ.get("PATH", ""), "HOME": tempfile.gettempdir()}
    return WorkerConfig(
        name=function.name,
        functions_dir=str(functions_dir(settings)),
        entrypoint=str(function.entrypoint),
        conninfo="",
        env={**environ, "SUPABASE_URL": settings.api_url, **settings.edge_runtime.secrets},
        memory_mb=function.settings.memory_mb,
        connections=1,
        packages=None if packages is None else str(packages),
    )
