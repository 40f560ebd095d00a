"""The connection to an S3-compatible store: how it is made, its limits, and what its errors mean here."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import S3Store as Client

from basalt.config import ObjectStoreSettings
from basalt.errors import BasaltError
from basalt.storage.stores.store import ContentMissingError, StoreFullError, StoreUnavailableError

CONNECT_S: Final = 5.0
READ_S: Final = 30.0  # for the next bytes of an answer
REQUEST_S: Final = 120.0  # for all of a piece of 8 MiB
OPEN_S: Final = 15.0
RETRIES: Final = 4
RETRY_S: Final = 30.0  # after which nothing is tried again

NO_SPACE: Final = ("507 Insufficient Storage", "XMinioStorageFull", "QuotaExceeded")
REFUSED: Final = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
# What the library itself cannot reach ends in other errors than those of the store.
FAILURES: Final = (exceptions.BaseError, FileNotFoundError, ValueError, OSError)


def build_client(settings: ObjectStoreSettings, *, timeout_s: float = REQUEST_S) -> Client:
    """Not connected yet. What the settings leave open comes from the environment (`AWS_…`), instance roles included.
    Raises BasaltError object_store_unusable."""
    options = {
        "region": settings.region,
        "endpoint": _endpoint(settings),
        "access_key_id": settings.access_key_id,
        "secret_access_key": settings.secret_access_key,
        "session_token": settings.session_token,
        "virtual_hosted_style_request": settings.virtual_hosted,
    }
    try:
        return Client(
            settings.bucket,
            config={name: value for name, value in options.items() if value is not None},  # type: ignore[arg-type]
            client_options={
                "allow_http": (settings.endpoint or "").startswith("http://"),
                "connect_timeout": timedelta(seconds=CONNECT_S),
                "read_timeout": timedelta(seconds=min(READ_S, timeout_s)),
                "timeout": timedelta(seconds=timeout_s),
            },
            retry_config={
                "max_retries": RETRIES,
                "retry_timeout": timedelta(seconds=RETRY_S),
                "backoff": {"max_backoff": timedelta(seconds=5)},
            },
        )
    except FAILURES as exc:
        raise _unusable(settings, "its settings will not do", exc) from exc


async def check_reachable(client: Client, settings: ObjectStoreSettings, prefix: str) -> None:
    """Raises BasaltError object_store_unusable, with the reason in a sentence."""
    try:
        async with asyncio.timeout(OPEN_S):
            async for _ in obstore.list(client, prefix, chunk_size=1):
                break
    except REFUSED as exc:
        raise _unusable(settings, "it does not accept the access key", exc) from exc
    except TimeoutError as exc:
        raise _unusable(settings, f"it did not answer within {OPEN_S:.0f} seconds", exc) from exc
    except FAILURES as exc:
        raise _unusable(settings, _reason(exc), exc) from exc


@contextmanager
def failing_as() -> Iterator[None]:
    """Errors of the store as StoreFullError and StoreUnavailableError."""
    try:
        yield
    except FAILURES as exc:
        if any(mark in str(exc) for mark in NO_SPACE):
            raise StoreFullError from exc
        raise StoreUnavailableError from exc


@contextmanager
def failing_to_find(key: str) -> Iterator[None]:
    """Likewise, and ContentMissingError where there is nothing under the key."""
    with failing_as():
        try:
            yield
        except FileNotFoundError as exc:
            raise ContentMissingError(key) from exc


def _endpoint(settings: ObjectStoreSettings) -> str | None:
    """With the bucket in its host where that is asked for."""
    if settings.endpoint is None or not settings.virtual_hosted:
        return settings.endpoint
    parts = urlsplit(settings.endpoint)
    host = f"{settings.bucket}."
    return (
        settings.endpoint
        if parts.netloc.startswith(host)
        else parts._replace(netloc=host + parts.netloc).geturl()
    )


def _reason(error: Exception) -> str:
    text = str(error)
    if "NoSuchBucket" in text:
        return "there is no such bucket"
    if "403 Forbidden" in text or "401 Unauthorized" in text:
        return "it does not accept the access key"
    if "incorrectly configured region" in text or "AuthorizationHeaderMalformed" in text:
        return "the bucket is in another region"
    return "it cannot be reached" if "HTTP error" in text else "it answered with an error"


def _unusable(settings: ObjectStoreSettings, reason: str, error: Exception) -> BasaltError:
    place = settings.endpoint or f"Amazon S3 in {settings.region}"
    return BasaltError(
        "object_store_unusable",
        500,
        f"The bucket {settings.bucket} of {place} cannot be used for objects: {reason}",
        hint="See basalt.storage.s3 in supabase/config.toml",
    )
