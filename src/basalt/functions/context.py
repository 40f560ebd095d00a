"""What a function can reach: who calls, the database, queues, the cache, storage. Everything is made when it is first
asked for, so that a call pays for nothing that it does not use."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from basalt.functions.database import SERVICE_ROLE, Database
from basalt.functions.flags import Flags
from basalt.functions.frames import Call
from basalt.functions.queue import Notify, Queue
from basalt.functions.runtime import Runtime
from basalt.functions.storage import Storage

if TYPE_CHECKING:
    from basalt.kv import Cache

SERVICE_CLAIMS = '{"role":"service_role"}'


class Context:
    """`db`, `storage` and `supabase` act as the caller, under row-level security; those named `service_…` as
    `service_role`."""

    def __init__(
        self,
        call: Call,
        runtime: Runtime,
        start_background: Callable[[Coroutine[Any, Any, object]], asyncio.Task[object]],
    ) -> None:
        self._call = call
        self._runtime = runtime
        self._start_background = start_background

    @property
    def request_id(self) -> str:
        return self._call.request_id

    @property
    def outgoing_headers(self) -> Mapping[str, str]:
        """`x-request-id`, and `traceparent` and `tracestate` where there is a trace: for requests that the function
        makes itself, so that they can be found together."""
        headers = {name: self._call.headers.get(name, "") for name in ("traceparent", "tracestate")}
        headers["x-request-id"] = self.request_id
        return {name: value for name, value in headers.items() if value}

    @property
    def role(self) -> str:
        """The database role of the caller."""
        return self._call.role

    @cached_property
    def claims(self) -> Mapping[str, Any]:
        claims: dict[str, Any] = orjson.loads(self._call.claims_json)
        return claims

    @property
    def user_id(self) -> str | None:
        """The signed-in user; None for API keys."""
        subject = self.claims.get("sub")
        return subject if isinstance(subject, str) else None

    @property
    def env(self) -> Mapping[str, str]:
        """The project's secrets and addresses."""
        return self._runtime.env

    @property
    def log(self) -> logging.Logger:
        return self._runtime.log

    @cached_property
    def db(self) -> Database:
        return Database(
            self._runtime.pool,
            role=self._call.role,
            claims_json=self._call.claims_json.decode(),
            headers_json=self._headers_json,
        )

    @cached_property
    def service_db(self) -> Database:
        return Database(
            self._runtime.pool, role=SERVICE_ROLE, claims_json=SERVICE_CLAIMS, headers_json=self._headers_json
        )

    @cached_property
    def queue(self) -> Queue:
        return Queue(self.service_db, self._runtime.config.queues)

    @cached_property
    def notify(self) -> Notify:
        """Mails and text messages, sent by the worker, and events of the notification engine."""
        return Notify(self.queue, self.service_db)

    @property
    def cache(self) -> "Cache":
        """Values that all processes of the project share."""
        return self._runtime.cache

    @cached_property
    def flags(self) -> Flags:
        """What the caller has of the project's feature flags."""
        return Flags(self._runtime.flags, user_id=self.user_id, claims=self.claims)

    @cached_property
    def storage(self) -> Storage:
        return self._runtime.open_storage(self._own_headers)

    @property
    def service_storage(self) -> Storage:
        return self._runtime.service_storage

    @cached_property
    def supabase(self) -> Any:
        """An official `supabase.AsyncClient` as the caller. Raises FunctionError PACKAGE_MISSING (500) where the
        package is not installed."""
        return self._runtime.open_supabase(self._own_key, self._call.token, self.outgoing_headers)

    @property
    def service_supabase(self) -> Any:
        return self._runtime.service_supabase

    def background(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """Go on with `work` when the answer is sent. The process stays for it, as long as the function's
        `total_timeout` allows. What it raises is in the log. Raises FunctionError BACKGROUND_FULL (503)."""
        return self._start_background(work)

    @property
    def _own_key(self) -> str:
        is_service = self._call.role == SERVICE_ROLE and self._call.token is None
        return self.env.get("SUPABASE_SECRET_KEY" if is_service else "SUPABASE_PUBLISHABLE_KEY", "")

    @property
    def _own_headers(self) -> Mapping[str, str]:
        headers = {"apikey": self._own_key, **self.outgoing_headers}
        if self._call.token is not None:
            headers["authorization"] = f"Bearer {self._call.token}"
        return headers

    @cached_property
    def _headers_json(self) -> str:
        seen = {**self.outgoing_headers, "user-agent": self._call.headers.get("user-agent", "")}
        return orjson.dumps(seen).decode()
