"""What single values of Storage's settings cannot tell: a hook that leads nowhere, a back end without its bucket."""

import re
from collections.abc import Iterator

from basalt.config.auth_settings import HookSettings
from basalt.config.hooks import HttpHook, parse_hook
from basalt.config.storage_settings import ObjectStoreSettings, StorageSettings, UploadHookSettings


def parse_upload_hook(hook: UploadHookSettings) -> HttpHook | None:
    """None where it is not set. Raises ValueError for an address or secret that will not do."""
    parsed = parse_hook(HookSettings(enabled=hook.enabled, uri=hook.uri, secrets=hook.secrets))
    if parsed is not None and not isinstance(parsed, HttpHook):
        raise ValueError("the address must begin with https://")
    return parsed


def find_storage_problems(settings: StorageSettings) -> Iterator[tuple[str, str]]:
    """Keys below `basalt.storage` with what is wrong with them."""
    try:
        parse_upload_hook(settings.upload_hook)
    except ValueError as exc:
        yield "upload_hook", str(exc)
    if settings.upload_hook.enabled and not settings.upload_hook.uri:
        yield "upload_hook.uri", "a hook that is enabled needs its address"
    if settings.backend == "s3":
        for key, reason in _find_object_store_problems(settings.s3):
            yield f"s3.{key}", reason
    if bool(settings.s3_access_key_id) != bool(settings.s3_secret_access_key):
        yield "s3_access_key_id", "access key and secret are set together or not at all"


def _find_object_store_problems(given: ObjectStoreSettings) -> Iterator[tuple[str, str]]:
    if not given.bucket:
        yield "bucket", 'the back end "s3" needs the bucket in which it keeps objects'
    if bool(given.access_key_id) != bool(given.secret_access_key):
        yield "access_key_id", "access key and secret are set together or not at all"
    if given.endpoint is not None and not re.match("https?://[^/]", given.endpoint):
        yield "endpoint", f"{given.endpoint!r} is no http:// or https:// URL"
    if any(segment in ("", ".", "..") for segment in given.prefix.split("/")[:-1]):
        yield "prefix", "it must not begin with / nor have empty, . or .. segments"
