"""Keys of push providers that stand in files of their own: `@fcm.json` beside `config.toml`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from basalt.config.notify_settings import NotifySettings

KEYS: Final = (("fcm", "service_account"), ("apns", "key"), ("webpush", "private_key"))
LARGEST_FILE_BYTES: Final = 64 * 1024


def read_key_files(notify: NotifySettings, folder: Path, fail: Callable[[str, str], None]) -> NotifySettings:
    """Settings with the content of the files that they name, relative to `folder`. Only those of the environment are
    read. `fail` is told of keys below `notify` whose file cannot be read."""
    if notify.environment == "inbox":
        return notify
    place = "providers" if notify.environment == "production" else "sandbox"
    credentials = notify.credentials
    for provider, key in KEYS:
        section = getattr(credentials, provider)
        named = getattr(section, key)
        if not named.startswith("@"):
            continue
        try:
            content = _read(folder / named[1:])
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "it is no text"
            fail(f"{place}.{provider}.{key}", f"the file cannot be read: {reason}")
            content = ""
        credentials = replace(credentials, **{provider: replace(section, **{key: content})})
    if place == "sandbox":
        return replace(notify, sandbox=credentials)
    return replace(notify, providers=credentials)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE_BYTES + 1)
    if len(content) > LARGEST_FILE_BYTES:
        raise ValueError("too large")
    return content.decode("utf-8")
