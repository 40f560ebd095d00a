"""Writes with an `Idempotency-Key`: done once, answered alike each time.

The first request claims the key, is carried out even if its client leaves, and leaves its answer; the same one again
gets that answer, after waiting for it where the first is still running. A failure (5xx) frees the key. Where it is not
known whether the work took place, because a gateway died over it, a repetition is refused and never carried out.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

from basalt import observe
from basalt.access import AccessError, AnyAuthoriser, Caller
from basalt.config import IdempotencySettings
from basalt.errors import BasaltError
from basalt.gateway.idempotency_key import hash_key, hash_request, parse_idempotency_key
from basalt.http import KeyedWrite, Request, Response
from basalt.kv import IdempotencyKeys, KeptAnswer
from basalt.waiting import wait_within

HEADER = "idempotency-key"
REPLAYED = (b"idempotency-replayed", b"true")
METHODS = frozenset({"POST", "PATCH", "PUT", "DELETE"})
UNKEPT_STATUSES = frozenset({408, 429})  # they say: again, later

EXTEND_EVERY_S = 10.0
LEAST_PAUSE_S = 0.02
MOST_PAUSE_S = 0.25
# A write that outlived its lease leaves its answer moments after it is committed.
UNKNOWN_GRACE_S = 1.0
CLOSE_LIMIT_S = 2.0
LARGE_BODY_BYTES = 256 * 1024


class Answering(Protocol):
    async def respond(self, request: Request) -> Response: ...


@dataclass(frozen=True)
class KeyedService:
    """A service whose writes may have keys. `is_recorded`: it writes in one transaction, with `Request.keyed`.
    `takes_anyone`: it may serve requests without valid credentials. `refuse` renders an error as it would itself."""

    authoriser: AnyAuthoriser
    is_recorded: bool = False
    takes_anyone: bool = False
    refuse: Callable[[BasaltError], Response] | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    key: bytes
    holder: str


class Idempotency:
    """`services` by prefix; those of other prefixes know no keys."""

    def __init__(
        self, settings: IdempotencySettings, keys: IdempotencyKeys, services: Mapping[str, KeyedService]
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._services = services
        self._running: dict[bytes, asyncio.Event] = {}
        self._frees: set[asyncio.Task[None]] = set()

    def concerns(self, request: Request) -> bool:
        return HEADER in request.headers and request.method in METHODS and request.prefix in self._services

    async def close(self) -> None:
        if self._frees:
            await asyncio.wait(self._frees, timeout=CLOSE_LIMIT_S)
        await self._keys.close()

    async def respond(self, request: Request, service: Answering) -> Response:
        keyed = self._services[request.prefix]
        try:
            key = parse_idempotency_key(request.headers.get_all(HEADER))
            caller: Caller | None = None
            try:
                caller = keyed.authoriser.authorise(request.headers, request.query_string)
            except AccessError:
                if not keyed.takes_anyone:
                    return await service.respond(request)  # which refuses it
            detached = await request.detach()
            claim = Claim(hash_key(key, request, caller), str(uuid.uuid4()))
            answer = await self._claim(claim, await _hash(detached), keyed)
        except BasaltError as error:
            if keyed.refuse is None:
                raise
            return keyed.refuse(error)
        if answer is not None:
            return Response(answer.status, [*answer.headers, REPLAYED], answer.body)
        done = self._running[claim.key] = asyncio.Event()
        try:
            return await self._carry_out(detached, service, claim, keyed)
        finally:
            if self._running.get(claim.key) is done:
                del self._running[claim.key]
            done.set()
            request.route = detached.route

    # The key

    async def _claim(self, claim: Claim, request_hash: bytes, keyed: KeyedService) -> KeptAnswer | None:
        """The first answer, or None when there is none and we are to find it. Raises BasaltError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.wait_s
        pause_s = LEAST_PAUSE_S
        unknown_since: float | None = None
        while True:
            found = await self._keys.claim(
                claim.key,
                request_hash,
                claim.holder,
                is_recorded=keyed.is_recorded,
                keep_s=self._settings.keep_s,
            )
            match found:
                case KeptAnswer():
                    return found
                case "claimed":
                    return None
                case "reused":
                    raise _reused()
                case "unkept":
                    raise _not_kept()
                case "unknown":
                    unknown_since = unknown_since or loop.time()
                    if loop.time() - unknown_since >= UNKNOWN_GRACE_S:
                        raise _unknown()
                case "in_progress":
                    unknown_since = None
                    if loop.time() >= deadline:
                        raise _in_progress()
                case _:
                    assert_never(found)
            await self._wait(claim.key, pause_s)
            pause_s = min(2 * pause_s, MOST_PAUSE_S)

    async def _wait(self, key: bytes, limit_s: float) -> None:
        """Until the first request has ended, where that is one of this process; for others a pause."""
        done = self._running.get(key)
        if done is None:
            await asyncio.sleep(limit_s)
            return
        await wait_within(done, MOST_PAUSE_S)

    # The work

    async def _carry_out(
        self, request: Request, service: Answering, claim: Claim, keyed: KeyedService
    ) -> Response:
        if keyed.is_recorded:
            request.keyed = KeyedWrite(claim.key, claim.holder)
        try:
            response = await self._keep_claim(service.respond(request), claim)
            body = await self._collect(response)
        except asyncio.CancelledError:
            if keyed.is_recorded:  # otherwise nobody knows how far it came
                self._free_soon(claim, keyed)
            raise
        except BaseException:
            self._free_soon(claim, keyed)
            raise
        if response.status >= 500 or response.status in UNKEPT_STATUSES:
            await self._free(claim, keyed)
        else:
            is_kept = body is not None and len(body) <= self._settings.max_answer_bytes
            await self._settle(
                claim, KeptAnswer(response.status, list(response.headers), body or b"") if is_kept else None
            )
        return response

    async def _keep_claim(self, work: Coroutine[Any, Any, Response], claim: Claim) -> Response:
        """The answer; while it is being made the claim is extended."""
        task = asyncio.ensure_future(work)
        try:
            while True:
                await asyncio.wait([task], timeout=EXTEND_EVERY_S)
                if task.done():
                    return task.result()
                await self._report(self._keys.extend(claim.key, claim.holder))
        finally:
            task.cancel()

    async def _collect(self, response: Response) -> bytes | None:
        """The whole body; None for a stream that does not say that it is small."""
        if isinstance(response.body, bytes):
            return response.body
        length = next((value for name, value in response.headers if name == b"content-length"), b"")
        if not length.isdigit() or int(length) > self._settings.max_answer_bytes:
            return None
        response.body = await _read(response.body)
        return response.body

    async def _settle(self, claim: Claim, answer: KeptAnswer | None) -> None:
        await self._report(self._keys.settle(claim.key, claim.holder, answer, keep_s=self._settings.keep_s))

    async def _free(self, claim: Claim, keyed: KeyedService) -> None:
        await self._report(self._keys.free(claim.key, claim.holder, is_recorded=keyed.is_recorded))

    def _free_soon(self, claim: Claim, keyed: KeyedService) -> None:
        """In a task of its own: this one may have been cancelled."""
        task = asyncio.create_task(self._free(claim, keyed))
        self._frees.add(task)
        task.add_done_callback(self._frees.discard)

    async def _report(self, statement: Coroutine[Any, Any, None]) -> None:
        """What cannot be noted must not cost the client its answer: a repetition is then refused as unknown."""
        try:
            await statement
        except Exception as error:
            observe.event("idempotency_key_not_noted", level="error", reason=str(error))


async def _hash(request: Request) -> bytes:
    body = await request.body()
    if len(body) < LARGE_BODY_BYTES:
        return hash_request(request, body)
    return await asyncio.to_thread(hash_request, request, body)


async def _read(body: AsyncIterator[bytes]) -> bytes:
    try:
        return b"".join([chunk async for chunk in body])
    finally:
        close = getattr(body, "aclose", None)
        if close is not None:
            await close()


def _in_progress() -> BasaltError:
    return BasaltError(
        "idempotency_in_progress",
        409,
        "The first request with this Idempotency-Key is still being carried out",
        hint="Send it again after a moment",
        headers=[("retry-after", "1")],
    )


def _reused() -> BasaltError:
    return BasaltError(
        "idempotency_key_reused",
        422,
        "This Idempotency-Key came with another request before",
        hint="Send a new key with each new request; the body, the query and the headers of a repetition are the same",
    )


def _not_kept() -> BasaltError:
    return BasaltError(
        "idempotency_answer_not_kept",
        409,
        "The request with this Idempotency-Key was carried out, and its answer was too large to be kept",
        hint="Look what it did; a new key would do it again",
    )


def _unknown() -> BasaltError:
    return BasaltError(
        "idempotency_outcome_unknown",
        409,
        "The request with this Idempotency-Key was interrupted, and may have been carried out",
        hint="Look whether it was; a new key would do it again",
    )
