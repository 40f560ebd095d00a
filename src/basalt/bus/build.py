"""Which bus an installation has."""

import hashlib
import importlib

from basalt.bus.bus import Bus
from basalt.bus.memory import MemoryBus
from basalt.bus.remote import RemoteBus
from basalt.config import BusSettings
from basalt.errors import BasaltError

# Imported on first use, and two of them need a package that not every installation has.
_ENGINES = {
    "postgres": ("basalt.bus.postgres", "PostgresEngine"),
    "redis": ("basalt.bus.redis", "RedisEngine"),
    "nats": ("basalt.bus.nats", "NatsEngine"),
}


class BusError(BasaltError):
    """The settings name a bus that cannot be."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__("bus_unusable", 500, message, hint=hint)


def build_bus(settings: BusSettings, *, project_id: str, conninfo: str) -> Bus:
    """The bus of the settings, not open yet. All nodes of an installation have the same `project_id`; several projects
    may share a server. `conninfo` is for PostgreSQL where the settings name no URL. Raises BusError."""
    if settings.engine == "memory":
        return MemoryBus()
    url = settings.url or (conninfo if settings.engine == "postgres" else None)
    if url is None:
        raise BusError(
            f"The bus over {settings.engine} needs the address of its server.", "Set basalt.bus.url."
        )
    module_name, class_name = _ENGINES[settings.engine]
    try:
        engine = getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as exc:
        raise BusError(
            f"The bus over {settings.engine} needs a package that is not installed: {exc.name}.",
            f"Run: pip install 'basalt[{settings.engine}]'",
        ) from exc
    try:
        return RemoteBus(engine(url, channel_name(project_id)))
    except ValueError as exc:
        raise BusError(f"basalt.bus.url cannot be used: {exc}") from exc


def channel_name(project_id: str) -> str:
    """One word of letters and digits, whatever the id holds.

    >>> channel_name("shop")
    'basalt_bus_8d9001d32c6a703d'
    """
    return f"basalt_bus_{hashlib.sha256(project_id.encode()).hexdigest()[:16]}"
