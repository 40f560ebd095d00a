"""The stores of rate limits over real servers."""

from dataclasses import dataclass
from typing import Any

import psycopg

from basalt.config import RateLimitSettings
from basalt.kv import RateStore, build_rates
from basalt.postgres import DatabaseAccess
from tests.bus.brokers import Postgres, Server


@dataclass(frozen=True)
class RateServer:
    """Where the counts are; `broker` takes the server away for a while."""

    engine: str
    access: DatabaseAccess
    broker: Server | Postgres | None = None

    def open(self, project_id: str = "shop", **overrides: Any) -> RateStore:
        """Another gateway's view of it."""
        return build_rates(
            RateLimitSettings(store=self.engine, **{"timeout_s": 5.0, **overrides}),  # type: ignore[arg-type]
            conninfo=self.access.conninfo("authenticator"),
            project_id=project_id,
            url=self.broker.url if isinstance(self.broker, Server) else None,
        )

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.access.conninfo("supabase_admin"), autocommit=True)
