"""`/functions/v1/NAME`: finds the function, checks the caller, passes the call to its process.

Refusals are those of Supabase's edge runtime; errors of a function have the structured shape of requirement
P16.
"""

import asyncio
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from basalt import observe
from basalt.access import AccessError, Authoriser, Caller, ProjectKeys
from basalt.config import FunctionSettings, Settings, read_dotenv
from basalt.errors import BasaltError, render_error
from basalt.functions.errors import FunctionError
from basalt.functions.frames import Call, Failure
from basalt.functions.pool import FunctionPool
from basalt.http import ClientDisconnectedError, Request, Response, json_response
from basalt.postgres import DatabaseAccess

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
WATCH_AFTER_S = 0.05
BODILESS = frozenset({204, 304})
NOBODY = Caller("anon", {"role": "anon"}, '{"role":"anon"}', is_key=True)


class FunctionsService:
    def __init__(
        self, settings: Settings, access: DatabaseAccess, authoriser: Authoriser, keys: ProjectKeys
    ) -> None:
        self._settings = settings
        self._authoriser = authoriser
        self._dir = settings.supabase_dir / "functions"
        self._pool = FunctionPool(
            self._dir,
            conninfo=access.conninfo("authenticator"),
            env=_environment(settings, access, keys),
            environ=os.environ,
        )

    async def open(self) -> None:
        self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    async def respond(self, request: Request) -> Response:
        try:
            return await self._respond(request)
        except AccessError as error:
            return _refusal("Missing authorization header" if error.reason == "missing" else "Invalid JWT")
        except FunctionError as error:
            return json_response(render_error(error, request.request_id), error.status)

    async def _respond(self, request: Request) -> Response:
        name = request.path.strip("/").split("/")[0]
        settings = self._settings.function(name) if NAME.fullmatch(name) else None
        entrypoint = self._entrypoint(name, settings) if settings is not None and settings.enabled else None
        if settings is None or entrypoint is None:
            return json_response({"code": "NOT_FOUND", "message": "Requested function was not found"}, 404)
        caller = self._caller(request, settings)
        if entrypoint.suffix != ".py":
            raise FunctionError(
                "NOT_SUPPORTED", f"{name} is written for Deno, which this version does not run", status=501
            )
        call = await self._call(request, caller)
        answer = await _unless_client_leaves(self._pool.call(name, entrypoint, settings, call), request)
        if isinstance(answer, Failure):
            return self._render_failure(answer, request, name)
        headers = [
            (key.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for key, value in answer.headers.items()
        ]
        return Response(answer.status, headers, b"" if answer.status in BODILESS else answer.body)

    def _entrypoint(self, name: str, settings: FunctionSettings) -> Path | None:
        if settings.entrypoint is not None:
            configured = self._settings.supabase_dir / settings.entrypoint
            return configured if configured.is_file() else None
        for file in ("index.py", "index.ts", "index.js"):
            path = self._dir / name / file
            if path.is_file():
                return path
        return None

    def _caller(self, request: Request, settings: FunctionSettings) -> Caller:
        """Raises AccessError where the function wants a valid token or key and there is none."""
        if not settings.verify_jwt:
            try:
                return self._authoriser.authorise(request.headers, request.query_string)
            except AccessError:
                return NOBODY
        if "authorization" not in request.headers and "apikey" not in request.headers:
            raise AccessError("missing")
        return self._authoriser.authorise(request.headers, request.query_string)

    async def _call(self, request: Request, caller: Caller) -> Call:
        return Call(
            id=0,
            method=request.method,
            path=request.path,
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.raw},
            query=dict(request.query()),
            body=await request.body(),
            request_id=request.request_id,
            role=caller.role,
            claims_json=caller.claims_json.encode(),
        )

    def _render_failure(self, failure: Failure, request: Request, name: str) -> Response:
        if failure.trace is not None:
            observe.event("function_crashed", level="error", function=name, traceback=failure.trace)
        error = BasaltError(
            failure.code, failure.status, failure.message, details=failure.details, hint=failure.hint
        )
        return json_response(render_error(error, request.request_id), failure.status)


async def _unless_client_leaves(work: Any, request: Request) -> Any:
    """The result of `work`, which is cancelled when the client goes away. Short calls are not watched."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait((task,), timeout=WATCH_AFTER_S)
        if not done:
            gone = asyncio.ensure_future(request.wait_disconnect())
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            if not task.done():
                raise ClientDisconnectedError
        return task.result()
    finally:
        task.cancel()


def _refusal(reason: str) -> Response:
    """As Supabase's edge runtime refuses, so that `functions.invoke` gives a FunctionsRelayError."""
    headers = [(b"content-type", b"application/json"), (b"x-relay-error", b"true")]
    return Response(401, headers, orjson.dumps({"code": 401, "message": reason, "msg": f"Error: {reason}"}))


def _environment(settings: Settings, access: DatabaseAccess, keys: ProjectKeys) -> Mapping[str, str]:
    """What functions find in `context.env` and `os.environ`: the project's own values and secrets, nothing of
    the gateway's."""
    dotenv = settings.supabase_dir / "functions" / ".env"
    passed_on = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
    return {
        **passed_on,
        "SUPABASE_URL": settings.api_url,
        "SUPABASE_ANON_KEY": keys.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": keys.service_role_key,
        "SUPABASE_PUBLISHABLE_KEY": keys.publishable_key,
        "SUPABASE_SECRET_KEY": keys.secret_key,
        "SUPABASE_DB_URL": access.url("postgres"),
        **settings.edge_runtime.secrets,
        **(read_dotenv(dotenv) if dotenv.is_file() else {}),
    }
