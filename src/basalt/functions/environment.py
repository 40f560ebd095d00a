"""What functions find in `context.env` and `os.environ`: the project's own values and secrets, nothing of the
gateway's."""

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from basalt.access import ProjectKeys
from basalt.config import Settings, read_dotenv
from basalt.functions.functions import functions_dir
from basalt.postgres import DatabaseAccess

PASSED_ON = ("PATH", "HOME", "LANG", "TZ")
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  where to ask, not where to listen


def build_environment(settings: Settings, access: DatabaseAccess, keys: ProjectKeys) -> Mapping[str, str]:
    """Read anew each time, for a process that is about to start."""
    dotenv = functions_dir(settings) / ".env"
    return {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "SUPABASE_URL": settings.api_url,
        "SUPABASE_ANON_KEY": keys.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": keys.service_role_key,
        "SUPABASE_PUBLISHABLE_KEY": keys.publishable_key,
        "SUPABASE_SECRET_KEY": keys.secret_key,
        "SUPABASE_DB_URL": access.url("postgres"),
        **settings.edge_runtime.secrets,
        **(read_dotenv(dotenv) if dotenv.is_file() else {}),
    }


def internal_url(settings: Settings) -> str:
    """Where processes on the gateway's machine reach the API: not by way of the public address."""
    host = EVERYWHERE.get(settings.api.host, settings.api.host)
    return f"http://{host}:{settings.api.port}"


def worker_url(settings: Settings) -> str:
    """The same for a worker, whose machine may have no gateway: the public address, where one is configured."""
    if settings.api.external_url is not None and urlsplit(settings.api_url).hostname is not None:
        return settings.api_url
    return internal_url(settings)
