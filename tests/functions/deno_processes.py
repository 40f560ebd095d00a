"""Functions written for Deno, started by tests without a project around them."""

import os
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest

from basalt.functions.deno import DenoFunction, find_deno
from basalt.functions.frames import Call, Failure
from basalt.functions.function_process import FunctionAnswer, FunctionProcess

needs_deno = pytest.mark.skipif(
    find_deno(os.environ) is None, reason="no deno on the PATH: pip install 'basalt[deno]'"
)
FUNCTIONS = Path(__file__).parent / "deno_functions"
Start = Callable[..., Coroutine[Any, Any, FunctionProcess]]


def copy_functions(folder: Path) -> Path:
    return Path(shutil.copytree(FUNCTIONS, folder / "functions", dirs_exist_ok=True))


def write_functions(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / "functions" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "functions"


def describe(functions_dir: Path, name: str, state_dir: Path, **changes: Any) -> DenoFunction:
    entrypoint = next((functions_dir / name).glob("index.*"))
    facts: dict[str, Any] = {"env": {"PATH": os.environ["PATH"]}, "memory_mb": 256, **changes}
    return DenoFunction(name, functions_dir, entrypoint, state_dir, **facts)


def a_call(path: str, method: str = "POST", body: bytes = b"", query: str = "", **headers: str) -> Call:
    """Underscores in header names stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named = {"host": "127.0.0.1:54321", "user-agent": "test", **named}
    return Call(0, method, path, query, named, body, "request-1", "anon", b"{}")


async def answer_of(process: FunctionProcess, call: Call, timeout_s: float = 10) -> FunctionAnswer:
    answer = await process.call(call, timeout_s=timeout_s)
    assert isinstance(answer, FunctionAnswer), answer
    return answer


async def failure_of(process: FunctionProcess, call: Call, timeout_s: float = 10) -> Failure:
    answer = await process.call(call, timeout_s=timeout_s)
    assert isinstance(answer, Failure), answer
    return answer


async def whole_body(answer: FunctionAnswer) -> bytes:
    if isinstance(answer.body, bytes):
        return answer.body
    return b"".join([chunk async for chunk in answer.body])


def stream_of(answer: FunctionAnswer) -> AsyncIterator[bytes]:
    assert not isinstance(answer.body, bytes), "the answer came whole"
    return answer.body
