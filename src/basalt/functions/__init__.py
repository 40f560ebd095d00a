"""Functions: Python handlers in processes of their own, and the library that their authors import.

A call comes in at `service`, which finds the function and checks the caller; a job at `job_performer`. `pool` keeps a
few processes per function, forked on demand from a `zygote` that has already imported everything; `process` speaks
`frames` with it over a socket; in the process `worker` loads the function and `calls` runs it with what `author` and
`context` offer. What an author imports: `from basalt.functions import Context, FunctionError, Request, Response`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from basalt.functions.author import Request, Response
from basalt.functions.context import Context
from basalt.functions.database import Transaction
from basalt.functions.errors import FunctionError, StorageError
from basalt.functions.form import Form, FormFile

if TYPE_CHECKING:
    from basalt.functions.check import check_functions
    from basalt.functions.function_log import LogFollower, read_log
    from basalt.functions.functions import Function, find_function, list_functions
    from basalt.functions.job_performer import JobPerformer
    from basalt.functions.new_function import create_function
    from basalt.functions.service import FunctionsService
    from basalt.jobs import DiscardJob, Job, RetryJob

__all__ = [
    "Context",
    "DiscardJob",
    "Form",
    "FormFile",
    "Function",
    "FunctionError",
    "FunctionsService",
    "Job",
    "JobPerformer",
    "LogFollower",
    "Request",
    "Response",
    "RetryJob",
    "StorageError",
    "Transaction",
    "check_functions",
    "create_function",
    "find_function",
    "list_functions",
    "read_log",
]

# Loaded when they are asked for: most functions' processes have no use for them.
ELSEWHERE = {
    "DiscardJob": "basalt.jobs",
    "Job": "basalt.jobs",
    "RetryJob": "basalt.jobs",
    "Function": "basalt.functions.functions",
    "FunctionsService": "basalt.functions.service",
    "JobPerformer": "basalt.functions.job_performer",
    "LogFollower": "basalt.functions.function_log",
    "check_functions": "basalt.functions.check",
    "create_function": "basalt.functions.new_function",
    "find_function": "basalt.functions.functions",
    "list_functions": "basalt.functions.functions",
    "read_log": "basalt.functions.function_log",
}


def __getattr__(name: str) -> object:
    if name in ELSEWHERE:
        return getattr(import_module(ELSEWHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
