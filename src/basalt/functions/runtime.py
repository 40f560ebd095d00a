"""What all calls of a function's process share: connections, clients, the cache."""

import logging
from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from typing import Any

import msgspec

from basalt.functions.cache import LazyCache
from basalt.functions.database import Pool, make_pool
from basalt.functions.errors import FunctionError
from basalt.functions.flags import FlagsOfProcess
from basalt.functions.frames import CacheReads
from basalt.functions.storage import Storage

HTTP_TIMEOUT_S = 60.0


class WorkerConfig(msgspec.Struct):
    """What a new process is told. `conninfo` logs in as `authenticator`; `packages` is the folder of the packages that
    the function asked for; `api_url` is where the process reaches the project's API; `queues` are those of functions
    whose jobs do not go to `default`; `cache` are the settings of the cache."""

    name: str
    functions_dir: str
    entrypoint: str
    conninfo: str
    env: dict[str, str]
    memory_mb: int
    connections: int
    api_url: str = ""
    packages: str | None = None
    max_answer_bytes: int = 100 * 1024 * 1024
    total_timeout_s: float = 400.0
    queues: dict[str, str] = {}
    cache: dict[str, Any] = {}
    project_id: str = ""


class Runtime:
    """Opened and closed by the process."""

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.env: Mapping[str, str] = config.env
        self.log = logging.getLogger(config.name)
        self.pool: Pool = make_pool(config.conninfo, max_size=config.connections)

    async def open(self) -> None:
        await self.pool.open()

    async def close(self) -> None:
        await self.pool.close(timeout=1)
        if "http" in self.__dict__:
            await self.http.aclose()
        for opened in (self.__dict__.get("cache"), self.__dict__.get("flags")):
            if opened is not None:
                await opened.close()

    @cached_property
    def http(self) -> Any:
        """A client that keeps its connections; loaded by the first who needs it."""
        return import_module("httpx2").AsyncClient(timeout=HTTP_TIMEOUT_S, trust_env=False)

    @cached_property
    def cache(self) -> LazyCache:
        config = self.config
        return LazyCache(config.cache, conninfo=config.conninfo, project_id=config.project_id)

    def take_cache_reads(self) -> CacheReads | None:
        """Those since the last time, where there are any."""
        if "cache" not in self.__dict__ or not (self.cache.hits or self.cache.misses):
            return None
        reads = CacheReads(self.cache.hits, self.cache.misses)
        self.cache.hits = self.cache.misses = 0
        return reads

    @cached_property
    def flags(self) -> FlagsOfProcess:
        return FlagsOfProcess(self.config.conninfo)

    @cached_property
    def service_storage(self) -> Storage:
        return self.open_storage({"apikey": self.env.get("SUPABASE_SECRET_KEY", "")})

    @cached_property
    def service_supabase(self) -> Any:
        return self.open_supabase(self.env.get("SUPABASE_SECRET_KEY", ""), None)

    @cached_property
    def _supabase_transport(self) -> Any:
        return import_module("httpx").AsyncHTTPTransport(trust_env=False)

    def open_storage(self, headers: Mapping[str, str]) -> Storage:
        return Storage(
            self.http,
            api_url=self.config.api_url,
            public_url=self.env.get("SUPABASE_URL", self.config.api_url),
            headers=headers,
        )

    def open_supabase(self, key: str, token: str | None, headers: Mapping[str, str] | None = None) -> Any:
        """Raises FunctionError PACKAGE_MISSING (500)."""
        try:
            supabase = import_module("supabase")
        except ModuleNotFoundError as exc:
            raise FunctionError(
                "PACKAGE_MISSING",
                "The package `supabase` is not installed",
                status=500,
                hint=f"Put `supabase` into a requirements file and name it in [functions.{self.config.name}]",
            ) from exc
        options = supabase.AsyncClientOptions(
            headers={**(headers or {}), **({} if token is None else {"Authorization": f"Bearer {token}"})},
            auto_refresh_token=False,
            persist_session=False,
            # Cookies are a client's own, connections are everybody's.
            httpx_client=import_module("httpx").AsyncClient(
                transport=self._supabase_transport, timeout=HTTP_TIMEOUT_S
            ),
        )
        return supabase.AsyncClient(self.config.api_url, key, options)
