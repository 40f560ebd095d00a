"""Settings: `supabase/config.toml`, `.env` and the environment become one frozen, documented tree.

`load_settings` runs once, at start; a room receives its own section as an argument and nothing else reads the
environment.
"""

from basalt.config.auth_settings import (
    AuthRateLimitSettings,
    AuthSettings,
    BreachedPasswordSettings,
    CaptchaSettings,
    CustomProviderSettings,
    EmailSettings,
    ExternalProviderSettings,
    FactorTypeSettings,
    HookSettings,
    HooksSettings,
    MailTemplateSettings,
    MessageBirdSettings,
    MfaSettings,
    NotificationSettings,
    OAuthServerSettings,
    PasskeySettings,
    PhoneFactorSettings,
    SamlSettings,
    SessionSettings,
    SmsSettings,
    SmtpSettings,
    TextLocalSettings,
    TwilioSettings,
    TwilioVerifySettings,
    VonageSettings,
    WalletSettings,
    Web3Settings,
    WebAuthnSettings,
)
from basalt.config.bus_settings import BusSettings
from basalt.config.config_error import ConfigError, Problem
from basalt.config.dotenv import read_dotenv
from basalt.config.hooks import HttpHook, PostgresHook, parse_hook
from basalt.config.load import load_settings, load_standalone_settings
from basalt.config.postgrest import (
    DATABASE_SETTINGS,
    LEAST_SECRET_BYTES,
    override_rest_settings,
    parse_key_set,
    rest_secret,
)
from basalt.config.realtime_settings import RealtimeServiceSettings, RealtimeSettings
from basalt.config.role_path import NOTHING, RolePath, parse_role_path
from basalt.config.saml import parse_saml_key
from basalt.config.server_address import ServerAddress, parse_proxy_uri
from basalt.config.settings import (
    ApiSettings,
    BasaltSettings,
    DbSettings,
    FunctionSettings,
    RateLimitSettings,
    RestSettings,
    Settings,
)
from basalt.config.storage_checks import parse_upload_hook
from basalt.config.storage_settings import (
    BucketSettings,
    ImageSettings,
    ObjectStoreSettings,
    StorageServiceSettings,
    StorageSettings,
    UploadHookSettings,
)

__all__ = [
    "DATABASE_SETTINGS",
    "LEAST_SECRET_BYTES",
    "NOTHING",
    "ApiSettings",
    "AuthRateLimitSettings",
    "AuthSettings",
    "BasaltSettings",
    "BreachedPasswordSettings",
    "BucketSettings",
    "BusSettings",
    "CaptchaSettings",
    "ConfigError",
    "CustomProviderSettings",
    "DbSettings",
    "EmailSettings",
    "ExternalProviderSettings",
    "FactorTypeSettings",
    "FunctionSettings",
    "HookSettings",
    "HooksSettings",
    "HttpHook",
    "ImageSettings",
    "MailTemplateSettings",
    "MessageBirdSettings",
    "MfaSettings",
    "NotificationSettings",
    "OAuthServerSettings",
    "ObjectStoreSettings",
    "PasskeySettings",
    "PhoneFactorSettings",
    "PostgresHook",
    "Problem",
    "RateLimitSettings",
    "RealtimeServiceSettings",
    "RealtimeSettings",
    "RestSettings",
    "RolePath",
    "SamlSettings",
    "ServerAddress",
    "SessionSettings",
    "Settings",
    "SmsSettings",
    "SmtpSettings",
    "StorageServiceSettings",
    "StorageSettings",
    "TextLocalSettings",
    "TwilioSettings",
    "TwilioVerifySettings",
    "UploadHookSettings",
    "VonageSettings",
    "WalletSettings",
    "Web3Settings",
    "WebAuthnSettings",
    "load_settings",
    "load_standalone_settings",
    "override_rest_settings",
    "parse_hook",
    "parse_key_set",
    "parse_proxy_uri",
    "parse_role_path",
    "parse_saml_key",
    "parse_upload_hook",
    "read_dotenv",
    "rest_secret",
]
