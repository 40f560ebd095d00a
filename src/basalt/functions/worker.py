"""Inside a function's process: loads `index.py`, serves calls side by side in one event loop, answers over
the socket."""

import asyncio
import importlib.util
import io
import logging
import os
import resource
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, TextIO

import msgspec
import orjson
import psycopg
from pydantic import BaseModel

from basalt.errors import BasaltError
from basalt.functions.author import Context, Request, Response
from basalt.functions.database import Database, Pool, make_pool
from basalt.functions.errors import function_error_from_database
from basalt.functions.frames import Answer, Call, Cancel, Failure, Ready, encode, read_for_worker

Handler = Callable[[Request, Context], Awaitable[object]]

ADDRESS_SPACE_SLACK_BYTES = (
    1024 * 1024 * 1024
)  # shared libraries and thread stacks count as address space too
TAG_END = "\x1f"  # separates the request id from the line in what the gateway reads of our output

_request_id: ContextVar[str] = ContextVar("function_request_id", default="")
_json = msgspec.json.Encoder(decimal_format="number", enc_hook=lambda value: _plain(value))


class WorkerConfig(msgspec.Struct):
    """What a new process is told. `conninfo` logs in as `authenticator`."""

    name: str
    functions_dir: str
    entrypoint: str
    conninfo: str
    env: dict[str, str]
    memory_mb: int
    connections: int


def run_worker(config: WorkerConfig, connection: socket.socket) -> None:
    """Serve until the gateway closes the socket."""
    os.environ.clear()
    os.environ.update(config.env)
    limit = config.memory_mb * 1024 * 1024 + ADDRESS_SPACE_SLACK_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.chdir(config.functions_dir)
    sys.path.insert(0, config.functions_dir)
    sys.dont_write_bytecode = True
    sys.stdout, sys.stderr = _Tagged(sys.__stdout__), _Tagged(sys.__stderr__)  # type: ignore[arg-type]
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr, force=True)
    asyncio.run(_serve(config, connection))


async def _serve(config: WorkerConfig, connection: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        handler = _load(config)
    except BaseException as error:
        writer.write(encode(Ready(_describe_boot_error(error, config))))
        await writer.drain()
        return
    pool = make_pool(config.conninfo, max_size=config.connections)
    await pool.open()
    writer.write(encode(Ready(None)))
    calls: dict[int, asyncio.Task[None]] = {}
    while (frame := await read_for_worker(reader)) is not None:
        match frame:
            case Call():
                task = asyncio.create_task(_serve_call(frame, handler, config, pool, writer))
                calls[frame.id] = task
                task.add_done_callback(lambda _, number=frame.id: calls.pop(number, None))  # type: ignore[misc]
            case Cancel() if frame.id in calls:
                calls[frame.id].cancel()
    for task in calls.values():
        task.cancel()
    await pool.close(timeout=1)


async def _serve_call(
    call: Call, handler: Handler, config: WorkerConfig, pool: Pool, writer: asyncio.StreamWriter
) -> None:
    _request_id.set(call.request_id)
    try:
        frame: Answer | Failure = _render(
            call.id, await handler(_request(call), _context(call, config, pool))
        )
    except BasaltError as error:
        frame = _failure(call.id, error)
    except psycopg.Error as error:
        known = function_error_from_database(error)
        frame = _failure(call.id, known) if known else _crash(call.id, error)
    except asyncio.CancelledError:
        frame = Failure(call.id, "CANCELLED", 499, "The call was cancelled", None, None, None)
    except Exception as error:
        frame = _crash(call.id, error)
    writer.write(encode(frame))
    await writer.drain()


def _request(call: Call) -> Request:
    return Request(call.method, call.path, call.headers, call.query, call.body)


def _context(call: Call, config: WorkerConfig, pool: Pool) -> Context:
    headers = orjson.dumps(
        {"x-request-id": call.request_id, "user-agent": call.headers.get("user-agent", "")}
    ).decode()
    claims_json = call.claims_json.decode()
    return Context(
        request_id=call.request_id,
        role=call.role,
        claims=orjson.loads(call.claims_json),
        env=config.env,
        db=Database(pool, role=call.role, claims_json=claims_json, headers_json=headers),
        service_db=Database(
            pool, role="service_role", claims_json='{"role":"service_role"}', headers_json=headers
        ),
        log=logging.getLogger(config.name),
    )


# Answers


def _render(number: int, value: object) -> Answer:
    response = value if isinstance(value, Response) else Response(value)
    headers = {name.lower(): text for name, text in response.headers.items()}
    body = response.body
    if isinstance(body, bytes):
        kind, raw = "application/octet-stream", body
    elif isinstance(body, str) and isinstance(value, Response):
        kind, raw = "text/plain; charset=utf-8", body.encode()
    elif body is None and isinstance(value, Response):
        kind, raw = "", b""
    else:
        kind, raw = "application/json", _json.encode(body)
    if kind:
        headers.setdefault("content-type", kind)
    return Answer(number, response.status, headers, raw)


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True)
    if isinstance(value, memoryview):
        return bytes(value)
    raise TypeError(f"a function cannot answer with a value of type {type(value).__name__}")


def _failure(number: int, error: BasaltError) -> Failure:
    details = None if error.details is None else msgspec.json.decode(_json.encode(error.details))
    return Failure(number, error.code, error.status, error.message, details, error.hint, None)


def _crash(number: int, error: BaseException) -> Failure:
    """Nothing of it for the caller; all of it for the log."""
    trace = "".join(traceback.format_exception(error))
    return Failure(
        number, "SERVER_ERROR", 500, "The function failed; its log has the details", None, None, trace
    )


# Loading


def _load(config: WorkerConfig) -> Handler:
    spec = importlib.util.spec_from_file_location("index", config.entrypoint)
    if spec is None or spec.loader is None:
        raise ImportError(f"{config.entrypoint} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules["index"] = module
    spec.loader.exec_module(module)
    handler = getattr(module, "handler", None)
    if not asyncio.iscoroutinefunction(handler):
        raise TypeError("index.py needs `async def handler(request, context)`")
    return handler


def _describe_boot_error(error: BaseException, config: WorkerConfig) -> str:
    """File, line and message of what is wrong in the author's own files."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{os.path.relpath(error.filename)}, line {error.lineno}: {error.msg}"
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(config.functions_dir)
    ]
    where = f"{os.path.relpath(own[-1].filename)}, line {own[-1].lineno}: " if own else f"{config.name}: "
    return f"{where}{type(error).__name__}: {error}"


class _Tagged(io.TextIOBase):
    """Output whose lines begin with the id of the request that wrote them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._partial: dict[str, str] = {}

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        current = _request_id.get()
        *lines, rest = (self._partial.pop(current, "") + text).split("\n")
        if rest:
            self._partial[current] = rest
        for line in lines:
            self._stream.write(f"{current}{TAG_END}{line}\n")
        self._stream.flush()
        return len(text)


def read_tagged(line: str) -> Mapping[str, Any]:
    """The request id and the text of a line that `_Tagged` wrote; other lines have no id."""
    tag, separator, text = line.partition(TAG_END)
    return {"function_request_id": tag, "line": text} if separator else {"line": line}
