"""Loads a function's file, and tells in the author's terms why it cannot be loaded."""

import asyncio
import importlib.util
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from basalt.functions.answers import describe
from basalt.functions.author import Request
from basalt.functions.context import Context
from basalt.functions.runtime import WorkerConfig

Handler = Callable[[Request, Context], Awaitable[object]]
Performer = Callable[[Any, Context], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the file defines; at least one of them."""

    handler: Handler | None
    perform: Performer | None


def load_function(config: WorkerConfig) -> Loaded:
    spec = importlib.util.spec_from_file_location("index", config.entrypoint)
    if spec is None or spec.loader is None:
        raise ImportError(f"{config.entrypoint} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules["index"] = module
    spec.loader.exec_module(module)
    found = {name: getattr(module, name, None) for name in ("handler", "perform")}
    for name, function in found.items():
        if function is not None and not asyncio.iscoroutinefunction(function):
            raise TypeError(f"`{name}` must be an async function")
    if found["handler"] is None and found["perform"] is None:
        raise TypeError(f"{os.path.basename(config.entrypoint)} needs `async def handler(request, context)`")
    return Loaded(**found)


def describe_boot_error(error: BaseException, config: WorkerConfig) -> str:
    """File, line and message of what is wrong in the author's own files."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{os.path.relpath(error.filename)}, line {error.lineno}: {error.msg}"
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(config.functions_dir)
    ]
    where = f"{os.path.relpath(own[-1].filename)}, line {own[-1].lineno}: " if own else f"{config.name}: "
    return f"{where}{describe(error)}"
