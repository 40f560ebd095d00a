"""Functions: Python handlers in processes of their own, and the library that their authors import.

A call comes in at `service`, which finds the function and checks the caller; `pool` keeps a process per
function, forked on demand from a `zygote` that has already imported everything; `process` speaks `frames`
with it over a socket; in the process `worker` runs the handler with the `author` library. What an author
imports: `from basalt.functions import Context, FunctionError, Request, Response`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from basalt.functions.author import Context, Request, Response
from basalt.functions.errors import FunctionError

if TYPE_CHECKING:
    from basalt.functions.service import FunctionsService

__all__ = ["Context", "FunctionError", "FunctionsService", "Request", "Response"]


def __getattr__(name: str) -> object:
    """The gateway's side is loaded when it is asked for: a function's process has no use for it."""
    if name == "FunctionsService":
        return import_module("basalt.functions.service").FunctionsService
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
