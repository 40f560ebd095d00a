"""Settings: `supabase/config.toml`, `.env` and the environment become one frozen, documented tree.

`load_settings` runs once, at start; a room receives its own section as an argument and nothing else reads the
environment.
"""

from basalt.config.config_error import ConfigError, Problem
from basalt.config.dotenv import read_dotenv
from basalt.config.load import load_settings, load_standalone_settings
from basalt.config.postgrest import (
    DATABASE_SETTINGS,
    override_rest_settings,
    parse_key_set,
    rest_secret,
)
from basalt.config.role_path import NOTHING, RolePath, parse_role_path
from basalt.config.settings import (
    ApiSettings,
    AuthSettings,
    BasaltSettings,
    DbSettings,
    EmailSettings,
    FunctionSettings,
    RateLimitSettings,
    RestSettings,
    Settings,
    SmsSettings,
)

__all__ = [
    "DATABASE_SETTINGS",
    "NOTHING",
    "ApiSettings",
    "AuthSettings",
    "BasaltSettings",
    "ConfigError",
    "DbSettings",
    "EmailSettings",
    "FunctionSettings",
    "Problem",
    "RateLimitSettings",
    "RestSettings",
    "RolePath",
    "Settings",
    "SmsSettings",
    "load_settings",
    "load_standalone_settings",
    "override_rest_settings",
    "parse_key_set",
    "parse_role_path",
    "read_dotenv",
    "rest_secret",
]
