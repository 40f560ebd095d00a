"""Every setting with its type, default and sentence; the reference page is printed from these fields.

The sections and keys are those of the Supabase CLI's `config.toml`; what is Basalt's own stands under
`[basalt]`. A field whose name ends in `_s` is a duration (TOML: seconds or Go's `"1m30s"`), one that ends in
`_bytes` a size (bytes or `"50MiB"`); the TOML key is the name without that ending.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from basalt.config.auth_settings import AuthSettings
from basalt.config.backup_settings import BackupSettings
from basalt.config.bus_settings import BusSettings
from basalt.config.engine_settings import (
    CacheSettings,
    CronSettings,
    IdempotencySettings,
    QueueSettings,
    WebhookSettings,
    WorkerSettings,
)
from basalt.config.limit_settings import RateLimitSettings
from basalt.config.notify_settings import NotifySettings
from basalt.config.operation_settings import AlertSettings, PrivacySettings, RetentionSettings
from basalt.config.realtime_settings import RealtimeServiceSettings, RealtimeSettings
from basalt.config.setting import section, setting
from basalt.config.storage_settings import StorageServiceSettings, StorageSettings
from basalt.config.telemetry_settings import TelemetrySettings


@dataclass(frozen=True, kw_only=True)
class ApiSettings:
    enabled: bool = setting(True, "Serve the REST API.")
    host: str = setting("127.0.0.1", "Address that the gateway listens on.")
    port: int = setting(54321, "Port of the gateway.", low=0, high=65535)
    schemas: tuple[str, ...] = setting(
        ("public", "graphql_public"), "Schemas exposed by the REST API; the first is the default."
    )
    extra_search_path: tuple[str, ...] = setting(
        ("public", "extensions"), "Schemas added to the search path of every request."
    )
    max_rows: int | None = setting(1000, "Most rows one answer holds.", low=1)
    external_url: str | None = setting(
        None, "Public URL of the API, for links and token issuers; by default its own address."
    )


@dataclass(frozen=True, kw_only=True)
class SeedSettings:
    enabled: bool = setting(
        True, "Run the seed files after the migrations, at the first start and after a reset."
    )
    sql_paths: tuple[str, ...] = setting(
        ("./seed.sql",), "Seed files, in order; globs relative to supabase/."
    )


@dataclass(frozen=True, kw_only=True)
class MigrationSettings:
    enabled: bool = setting(True, "Apply pending migrations at start.")


@dataclass(frozen=True, kw_only=True)
class DbSettings:
    port: int = setting(54322, "Port of the private PostgreSQL cluster.", low=0, high=65535)
    major_version: int | None = setting(
        None, "PostgreSQL major version to prefer; by default the newest installed.", low=15, high=18
    )
    url: str | None = setting(
        None,
        "An existing PostgreSQL to use instead of the private cluster (also DATABASE_URL).",
        is_secret=True,
    )
    vault: Mapping[str, str] = setting(
        {}, "Secrets that Vault has, by their names, before the migrations run.", is_secret=True
    )
    seed: SeedSettings = section(SeedSettings)
    migrations: MigrationSettings = section(MigrationSettings)


@dataclass(frozen=True, kw_only=True)
class StudioSettings:
    enabled: bool = setting(True, "Serve the console under /studio.")


@dataclass(frozen=True, kw_only=True)
class EdgeRuntimeSettings:
    enabled: bool = setting(True, "Serve the functions of supabase/functions.")
    policy: Literal["oneshot", "per_worker"] = setting(
        "per_worker",
        "`oneshot` looks for changed files at every request, `per_worker` twice a second at most.",
    )
    secrets: Mapping[str, str] = setting(
        {}, "Environment of every function; stored secrets count more.", is_secret=True
    )


@dataclass(frozen=True, kw_only=True)
class FunctionSettings:
    enabled: bool = setting(True, "Serve this function.")
    verify_jwt: bool = setting(True, "Refuse requests without a valid token or key.")
    entrypoint: str | None = setting(None, "File of the function, relative to supabase/.")
    timeout_s: float = setting(60.0, "Longest time to the beginning of an answer.", low=0.05, high=3600)
    total_timeout_s: float = setting(
        400.0, "Longest time to the end of an answer, and of what goes on behind it.", low=0.05, high=86400
    )
    memory_mb: int = setting(256, "Memory above which a function's process is replaced.", low=32, high=65536)
    concurrency: int = setting(
        100, "Requests that one process of the function serves at once.", low=1, high=10000
    )
    processes: int = setting(
        2, "Most processes of the function; another one starts when the others are full.", low=1, high=64
    )
    max_answer_bytes: int = setting(100 * 1024 * 1024, "Largest answer.", low=1024)
    requirements: str | None = setting(
        None, "File with the packages that the function imports, relative to supabase/."
    )
    import_map: str | None = setting(
        None, "Import map or deno.json of a function written for Deno, relative to supabase/."
    )
    queue: str = setting("default", "Queue of the function's jobs where they name none.")
    schedule: str | None = setting(None, "Cron expression by which the function is called.")
    timezone: str = setting("UTC", "Time zone of the schedule.")


@dataclass(frozen=True, kw_only=True)
class RestSettings:
    """PostgREST's configuration under its own names (with underscores), from `PGRST_…` variables as well; the
    exposed schemas, the search path and the most rows come from `[api]` when they are not set here."""

    db_schemas: tuple[str, ...] = setting(
        (), "Schemas exposed by the REST API, the first is the default; by default `api.schemas`."
    )
    db_extra_search_path: tuple[str, ...] | None = setting(
        None, "Schemas added to the search path of every request; by default `api.extra_search_path`."
    )
    db_max_rows: int | None = setting(None, "Most rows one answer holds; by default `api.max_rows`.", low=0)
    db_anon_role: str | None = setting("anon", 'Role of requests without a token; `""` refuses them.')
    db_pre_request: str | None = setting(
        None, "Function called in every request's transaction before the query."
    )
    db_config: bool = setting(True, "Read `pgrst.…` settings of the login role from the database.")
    db_pre_config: str | None = setting(None, "Function that sets `pgrst.…` settings when they are read.")
    db_channel: str = setting("pgrst", "Channel on which `notify` asks for a reload.")
    db_channel_enabled: bool = setting(True, "Listen on that channel.")
    db_tx_end: Literal["commit", "commit-allow-override", "rollback", "rollback-allow-override"] = setting(
        "commit", "How transactions end, and whether `Prefer: tx=…` may decide."
    )
    db_aggregates_enabled: bool = setting(False, "Allow aggregate functions in `select`.")
    db_plan_enabled: bool = setting(False, "Answer `Accept: application/vnd.pgrst.plan` with query plans.")
    db_root_spec: str | None = setting(
        None, "Function that answers the root instead of the OpenAPI document."
    )
    db_prepared_statements: bool = setting(True, "Prepare statements; false behind a pooler that cannot.")
    db_hoisted_tx_settings: tuple[str, ...] = setting(
        ("statement_timeout", "plan_filter.statement_cost_limit", "default_transaction_isolation"),
        "Settings of roles and functions that a request's transaction takes over.",
    )
    jwt_secret: str | None = setting(
        None,
        "Secret, JWK or JWK set (or `@file`) that REST tokens are verified with; by default the project's keys.",
        is_secret=True,
    )
    jwt_secret_is_base64: bool = setting(False, "`jwt_secret` is encoded in Base64.")
    jwt_aud: str | None = setting(None, "Audience that a token must name if it names one.")
    jwt_role_claim_key: str = setting("$.role", "JSON path to the role in the claims.")
    jwt_cache_max_entries: int = setting(20_000, "Verified tokens kept in memory; 0 keeps none.", low=0)
    openapi_mode: Literal["follow-privileges", "ignore-privileges", "disabled"] = setting(
        "follow-privileges", "What the OpenAPI document at the root shows."
    )
    openapi_security_active: bool = setting(False, "Add the security section to the OpenAPI document.")
    openapi_server_proxy_uri: str | None = setting(None, "Address that the OpenAPI document names.")
    server_cors_allowed_origins: tuple[str, ...] = setting(
        (), "Origins that browsers may call from; none is any."
    )
    server_trace_header: str | None = setting(None, "Request header that is sent back for tracing.")
    server_timing_enabled: bool = setting(False, "Send `Server-Timing`.")
    client_error_verbosity: Literal["verbose", "minimal"] = setting(
        "verbose", "`minimal` leaves details and hints out of errors."
    )
    url_use_legacy_target_names: bool = setting(
        True, "Filters may name an embed by its table although it has an alias (before PostgREST 18)."
    )
    app_settings: Mapping[str, str] = setting(
        {}, "`app.settings.NAME` in every transaction (also `PGRST_APP_SETTINGS_NAME`).", is_secret=True
    )


@dataclass(frozen=True, kw_only=True)
class SecretsSettings:
    key: str | None = setting(
        None,
        "Key that the secrets of `basalt secrets` are sealed with, the same on all nodes, older ones behind it; "
        "by default `.basalt/secrets.key`.",
        is_secret=True,
    )


@dataclass(frozen=True, kw_only=True)
class BasaltSettings:
    max_body_bytes: int = setting(
        10 * 1024 * 1024, "Largest body of a REST, Auth or function request.", low=1024
    )
    lanes: int = setting(6, "Pipelined database connections of a gateway.", low=1, high=500)
    lane_depth: int = setting(32, "Requests in flight on one of them.", low=1, high=1000)
    queue_timeout_s: float = setting(10.0, "Longest wait of a request for a place on a lane.", low=0.1)
    client_address_header: str | None = setting(
        None,
        "Header with the client's address, set by a trusted proxy, read from the right; with `trusted_proxies` "
        "`X-Forwarded-For`. `Forwarded` is read by RFC 7239.",
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        "Addresses and networks of the proxies in front, such as `10.0.0.0/8`. Only they may name the client, and they "
        "are passed over when its address is looked for; without them whoever connects is taken for the proxy.",
    )
    require_api_key: bool = setting(False, "Refuse requests without an API key.")
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "Least severity that is logged."
    )
    log_format: Literal["auto", "json", "text"] = setting(
        "auto", "`auto` is text on a terminal and JSON elsewhere."
    )
    drain_timeout_s: float = setting(5.0, "Time for open requests to end at a stop.", low=0)
    rate_limit: RateLimitSettings = section(RateLimitSettings)
    rest: RestSettings = section(RestSettings)
    realtime: RealtimeSettings = section(RealtimeSettings)
    bus: BusSettings = section(BusSettings)
    storage: StorageSettings = section(StorageSettings)
    worker: WorkerSettings = section(WorkerSettings)
    queues: Mapping[str, QueueSettings] = setting({}, "Queues of jobs.")
    cron: CronSettings = section(CronSettings)
    webhooks: WebhookSettings = section(WebhookSettings)
    cache: CacheSettings = section(CacheSettings)
    idempotency: IdempotencySettings = section(IdempotencySettings)
    secrets: SecretsSettings = section(SecretsSettings)
    alerts: AlertSettings = section(AlertSettings)
    privacy: PrivacySettings = section(PrivacySettings)
    retention: Mapping[str, RetentionSettings] = setting(
        {}, "Policies by name that delete, move or mark old rows by a schedule."
    )
    telemetry: TelemetrySettings = section(TelemetrySettings)

    @property
    def address_header(self) -> str | None:
        """The header that names the client, in lower case; None where nobody else speaks for clients."""
        named = self.client_address_header or ("x-forwarded-for" if self.trusted_proxies else None)
        return named.lower() if named is not None else None

    backup: BackupSettings = section(BackupSettings)

    def queue(self, name: str) -> QueueSettings:
        """The settings of one queue; the defaults where the file has no section for it."""
        return self.queues.get(name) or QueueSettings()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole tree. `unknown_keys` were in the file but mean nothing to Basalt or the Supabase CLI;
    `idle_keys` the CLI knows and this version of Basalt does not act on."""

    project_dir: Path
    state_dir: Path
    project_id: str
    api: ApiSettings
    db: DbSettings
    studio: StudioSettings
    auth: AuthSettings
    realtime: RealtimeServiceSettings
    storage: StorageServiceSettings
    edge_runtime: EdgeRuntimeSettings
    notify: NotifySettings
    functions: Mapping[str, FunctionSettings]
    basalt: BasaltSettings
    unknown_keys: tuple[str, ...] = ()
    idle_keys: tuple[str, ...] = ()

    @property
    def supabase_dir(self) -> Path:
        return self.project_dir / "supabase"

    @property
    def api_url(self) -> str:
        """The public URL of the API, without a slash at its end."""
        return (self.api.external_url or f"http://{self.api.host}:{self.api.port}").rstrip("/")

    def function(self, name: str) -> FunctionSettings:
        """The settings of one function; the defaults where the file has no section for it."""
        return self.functions.get(name) or FunctionSettings()
