"""Settings: `supabase/config.toml`, `.env` and the environment become one frozen, documented tree.

`load_settings` runs once, at start; a room receives its own section as an argument and nothing else reads the
environment.
"""

from basalt.config.dotenv import read_dotenv
from basalt.config.load import ConfigError, Problem, load_settings
from basalt.config.settings import (
    ApiSettings,
    AuthSettings,
    BasaltSettings,
    DbSettings,
    EmailSettings,
    FunctionSettings,
    RateLimitSettings,
    Settings,
    SmsSettings,
)

__all__ = [
    "ApiSettings",
    "AuthSettings",
    "BasaltSettings",
    "ConfigError",
    "DbSettings",
    "EmailSettings",
    "FunctionSettings",
    "Problem",
    "RateLimitSettings",
    "Settings",
    "SmsSettings",
    "load_settings",
    "read_dotenv",
]
