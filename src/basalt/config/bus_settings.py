"""`[basalt.bus]`: how the gateways of one installation hear each other."""

from dataclasses import dataclass
from typing import Literal

from basalt.config.setting import setting


@dataclass(frozen=True, kw_only=True)
class BusSettings:
    engine: Literal["memory", "postgres", "redis", "nats"] = setting(
        "memory",
        "What carries broadcasts and presence between gateway processes; `memory` reaches only those of the same one.",
    )
    url: str | None = setting(
        None,
        "Server of the bus, such as `redis://:password@host:6379/0` or `nats://user:password@host:4222`; "
        "for `postgres` a direct connection, by default the project's database.",
        is_secret=True,
    )
