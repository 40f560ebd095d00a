"""Hooks: the project's own code, asked at fixed points of a flow (GoTrue hooks/v0hooks).

A hook is a Postgres function, called in the flow's transaction (`postgres`), or an HTTP endpoint (`http`).
"""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import fields
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, Literal, assert_never
from uuid import uuid4

import psycopg

from basalt import observe
from basalt.auth.errors import AuthError
from basalt.auth.hooks.http import ask_endpoint
from basalt.auth.hooks.postgres import ask_function
from basalt.auth.users import Transaction
from basalt.config import ConfigError, HooksSettings, HttpHook, PostgresHook, Problem, parse_hook
from basalt.http import OutgoingClient, Request

HookName = Literal[
    "custom_access_token",
    "send_email",
    "send_sms",
    "mfa_verification_attempt",
    "password_verification_attempt",
    "before_user_created",
    "after_user_created",
]
Begin = Callable[[], AbstractAsyncContextManager[Transaction]]
# What `metadata.name` says (v0hooks.go).
CONTRACT_NAMES: Final[Mapping[str, str]] = {
    "custom_access_token": "customize-access-token",
    "send_email": "send-email",
    "send_sms": "send-sms",
    "mfa_verification_attempt": "mfa-verification",
    "password_verification_attempt": "password-verification",
    "before_user_created": "before-user-created",
    "after_user_created": "after-user-created",
}


class Hooks:
    """The hooks of one project. Raises ConfigError for addresses or secrets that will not do."""

    def __init__(self, settings: HooksSettings, http: OutgoingClient) -> None:
        self._http = http
        self._targets: dict[str, PostgresHook | HttpHook] = {}
        problems = []
        for spec in fields(settings):
            try:
                target = parse_hook(getattr(settings, spec.name))
            except ValueError as error:
                problems.append(Problem("settings", f"auth.hook.{spec.name}", str(error)))
                continue
            if target is not None:
                self._targets[spec.name] = target
        if problems:
            raise ConfigError(problems)

    def is_enabled(self, name: HookName) -> bool:
        return name in self._targets

    async def run(
        self, request: Request, tx: Transaction, name: HookName, payload: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """What the hook answers to `payload`, to which `metadata` is added; None where no such hook is set. Raises
        AuthError with the hook's own refusal, hook_timeout, hook_timeout_after_retry, hook_payload_…,
        unexpected_failure.

        What a function wrote lives or dies with `tx`; `run_apart` is for hooks whose writes must stay."""
        target = self._targets.get(name)
        return None if target is None else await self._run(request, tx, name, target, payload)

    async def run_apart(
        self, request: Request, begin: Begin, name: HookName, payload: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Like `run`, in a transaction of its own, which is committed even when the hook refuses: a function that
        counts failures keeps its count. An endpoint is asked without holding a connection."""
        target = self._targets.get(name)
        if target is None:
            return None
        if isinstance(target, HttpHook):
            return await self._run(request, None, name, target, payload)
        async with begin() as tx:
            try:
                return await self._run(request, tx, name, target, payload)
            except AuthError as error:
                refusal = error
        raise refusal

    async def _run(
        self,
        request: Request,
        tx: Transaction | None,
        name: HookName,
        target: PostgresHook | HttpHook,
        payload: Mapping[str, Any],
    ) -> dict[str, Any]:
        started = time.monotonic()
        outcome = "cancelled"
        try:
            answer = await self._ask(target, tx, _metadata(request, name) | dict(payload))
            _check_refusal(answer)
            outcome = "ok"
        except psycopg.Error as error:
            outcome = error.sqlstate or "lost"
            if tx is None or tx.broken:
                raise
            raise AuthError("unexpected_failure", f"Error running hook URI: {describe(target)}") from error
        except AuthError as error:
            outcome = error.code
            raise
        finally:
            observe.event(
                "hook_ran",
                level="info" if outcome == "ok" else "warning",
                hook=name,
                target=describe(target),
                outcome=outcome,
                duration_ms=round((time.monotonic() - started) * 1000, 1),
            )
        return answer

    async def _ask(
        self, target: PostgresHook | HttpHook, tx: Transaction | None, payload: dict[str, Any]
    ) -> dict[str, Any]:
        match target:
            case PostgresHook():
                assert tx is not None
                return await ask_function(tx, target, payload)
            case HttpHook():
                return await ask_endpoint(self._http, target, payload)
            case _:
                assert_never(target)


def describe(target: PostgresHook | HttpHook) -> str:
    """The address without its query, which may hold a key.

    >>> describe(HttpHook("https://user:word@hooks.example/in?key=1", ()))
    'https://hooks.example/in'
    """
    if isinstance(target, PostgresHook):
        return f"pg-functions://postgres/{target.schema}/{target.function}"
    address = target.url.partition("#")[0].partition("?")[0]
    scheme, _, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _metadata(request: Request, name: HookName) -> dict[str, Any]:
    metadata = {
        "uuid": str(uuid4()),
        "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "name": CONTRACT_NAMES[name],
        "ip_address": request.client_ip,
    }
    return {"metadata": metadata}


def _check_refusal(answer: Mapping[str, Any]) -> None:
    """`{"error": {"http_code", "message"}}` is the hook's refusal (hookserrors.go). Where GoTrue passes over an error
    object that it cannot read, and so lets in whom the hook refused, this is an error too."""
    error = answer.get("error")
    if error is None:
        return
    if not isinstance(error, dict):
        raise AuthError("unexpected_failure", "Error unmarshaling JSON output.")
    message = error.get("message") or ""
    if not isinstance(message, str):
        raise AuthError("unexpected_failure", "Error unmarshaling JSON output.")
    if not message:
        return
    status = error.get("http_code")
    is_error = isinstance(status, int) and 400 <= status < 600
    if not is_error or status == HTTPStatus.INTERNAL_SERVER_ERROR:
        raise AuthError("unexpected_failure", message)
    raise AuthError("unknown", message, status=status)
