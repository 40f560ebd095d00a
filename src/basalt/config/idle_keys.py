"""Keys of the Supabase CLI's `config.toml` that this version of Basalt reads past.

They are no mistake of the user's, so they are told apart from misspelt ones; a later version may act on them.
"""

IDLE_KEYS = (
    "analytics",
    "api.auto_expose_new_tables",
    "api.tls",
    "auth.anon_key",
    "auth.service_role_key",
    "auth.third_party",
    "db.health_timeout",
    "db.migrations.schema_paths",
    "db.network_restrictions",
    "db.pooler",
    "db.root_key",
    "db.settings",
    "db.shadow_port",
    "db.ssl_enforcement",
    "edge_runtime.deno_version",
    "edge_runtime.inspector_port",
    "experimental",
    "functions.*.static_files",
    "inbucket",
    "realtime.ip_version",
    "realtime.max_header_length",
    "realtime.tenant_id",
    "remotes",
    "storage.analytics",
    "storage.image_transformation.url",
    "storage.vector",
    "studio.api_url",
    "studio.openai_api_key",
    "studio.port",
    "studio.pgmeta_image",
)


def is_idle_key(path: str) -> bool:
    """Whether the CLI knows `path` (or a table above it) and Basalt does nothing with it.

    >>> [is_idle_key(path) for path in ("auth.third_party.clerk", "functions.hello.static_files", "auth.hok")]
    [True, True, False]
    """
    parts = path.split(".")
    if parts[0] == "functions" and len(parts) > 2:
        parts[1] = "*"
    return any(".".join(parts[:length]) in IDLE_KEYS for length in range(1, len(parts) + 1))
