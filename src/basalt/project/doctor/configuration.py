"""Settings that are fine on a laptop and wrong in public, secrets that everybody knows, and what was set in vain."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Final
from urllib.parse import urlsplit

from basalt.config import ProviderSettings, Settings, find_literal_secrets
from basalt.project.doctor.setting_check import SettingCheck, Smell, is_loopback, is_public

# Published: in the Supabase CLI and in its guide to self-hosting.
KNOWN_SECRETS: Final = frozenset(
    {
        "super-secret-jwt-token-with-at-least-32-characters-long",
        "your-super-secret-jwt-token-with-at-least-32-characters-long",
        "your-super-secret-and-long-postgres-password",
        "sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz",
    }
)
FEWEST_LETTERS: Final = 10  # different ones, in a secret of 32 characters; at random it has about 25
LONG_TOKEN_S: Final = 86400


def _known_secrets(settings: Settings) -> Iterator[Smell]:
    auth = settings.auth
    for key, value in (("auth.jwt_secret", auth.jwt_secret), ("auth.secret_key", auth.secret_key)):
        if value in KNOWN_SECRETS:
            yield "error", key, "is a published example", "leave it out: the first start makes one"
        elif value and len(set(value)) < FEWEST_LETTERS:
            yield "error", key, "is easily guessed", "leave it out, or take `openssl rand -base64 48`"
    if settings.basalt.secrets.key and len(set(settings.basalt.secrets.key)) < FEWEST_LETTERS:
        yield "error", "basalt.secrets.key", "is easily guessed", "openssl rand -base64 32"
    if settings.db.url and urlsplit(settings.db.url).password in {"postgres", "password", *KNOWN_SECRETS}:
        yield "error", "db.url", "has a password that everybody tries first", "alter role … password '…';"


def _literal_secrets(settings: Settings) -> Iterator[Smell]:
    for key in find_literal_secrets(settings.supabase_dir / "config.toml"):
        yield (
            "warning",
            key,
            "stands in config.toml, which goes into version control",
            f'{key.rpartition(".")[2]} = "env({key.upper().replace(".", "_")})"',
        )


def _open_files(settings: Settings) -> Iterator[Smell]:
    paths = [
        *(settings.state_dir / name for name in ("keys.json", "database.json", "secrets.key")),
        *(folder / ".env" for folder in (settings.project_dir, settings.supabase_dir)),
    ]
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if mode & 0o007:
            severity = "warning" if path.name == ".env" else "error"
            yield (
                severity,  # type: ignore[misc]
                str(path),
                "may be read by every user of this machine",
                f"chmod 600 {path}",
            )


def _unknown(settings: Settings) -> Iterator[Smell]:
    for key in settings.unknown_keys:
        yield (
            "warning",
            key,
            "means nothing to Basalt or the Supabase CLI",
            "look for its name in settings.md",
        )
    for key in settings.idle_keys:
        yield "info", key, "is known to the Supabase CLI, and this version does nothing with it", ""


def _addresses(settings: Settings) -> Iterator[Smell]:
    if not is_public(settings):
        return
    url = settings.api.external_url
    if not url:
        yield (
            "warning",
            "api.external_url",
            "is not set, although the API listens on all addresses: links and token issuers name "
            + settings.api_url,
            'external_url = "https://api.example.com"',
        )
    elif url.startswith("http://"):
        yield (
            "error",
            "api.external_url",
            "is plain HTTP: tokens go over the network in the clear",
            "https://",
        )
    if settings.auth.enabled and is_loopback(urlsplit(settings.auth.site_url).hostname or ""):
        yield "error", "auth.site_url", "leads to the user's own machine", 'site_url = "https://example.com"'
    for pattern in settings.auth.additional_redirect_urls:
        host = pattern.partition("://")[2].partition("/")[0] or pattern
        if host in ("*", "**") or host.startswith(("*.com", "**.")):
            yield (
                "error",
                "auth.additional_redirect_urls",
                f"allows {pattern}: links with tokens may lead to any site",
                "name the hosts",
            )


def _browsers(settings: Settings) -> Iterator[Smell]:
    if is_public(settings) and not settings.basalt.rest.server_cors_allowed_origins:
        yield (
            "info",
            "basalt.rest.server_cors_allowed_origins",
            "lets pages of any site call the API",
            'server_cors_allowed_origins = ["https://example.com"]',
        )


def _mail(settings: Settings) -> Iterator[Smell]:
    auth = settings.auth
    smtp = auth.email.smtp
    if not (is_public(settings) and auth.enabled and auth.email.enable_signup):
        return
    has_hook = auth.hook.send_email.enabled and auth.hook.send_email.uri
    if not (smtp.enabled and smtp.host) and not has_hook:
        yield (
            "error",
            "auth.email.smtp",
            "is missing: codes and links stay in the Inbox and reach nobody",
            "[auth.email.smtp] host, user, pass, admin_email",
        )
    elif smtp.host and smtp.admin_email == "admin@localhost":
        yield "warning", "auth.email.smtp.admin_email", "is admin@localhost, which receivers refuse", ""


def _sign_in(settings: Settings) -> Iterator[Smell]:
    auth = settings.auth
    if not auth.enabled:
        return
    if not auth.enable_refresh_token_rotation:
        yield (
            "warning",
            "auth.enable_refresh_token_rotation",
            "is off: a stolen refresh token works for ever, unnoticed",
            "enable_refresh_token_rotation = true",
        )
    if auth.jwt_expiry_s > LONG_TOKEN_S:
        yield (
            "warning",
            "auth.jwt_expiry",
            f"lets an access token live {auth.jwt_expiry_s // 3600} hours",
            "jwt_expiry = 3600",
        )
    if not is_public(settings):
        return
    if auth.sms.test_otp:
        yield (
            "error",
            "auth.sms.test_otp",
            "gives these numbers a fixed code",
            "leave it out, or only for an app store's review",
        )
    if auth.enable_signup and auth.email.enable_signup and not auth.email.enable_confirmations:
        yield (
            "warning",
            "auth.email.enable_confirmations",
            "is off: anybody signs up with an address that is not theirs",
            "enable_confirmations = true",
        )
    if auth.minimum_password_length < 8:
        yield (
            "warning",
            "auth.minimum_password_length",
            f"allows passwords of {auth.minimum_password_length} characters",
            "minimum_password_length = 8",
        )
    if auth.enable_anonymous_sign_ins and not auth.captcha.enabled:
        yield (
            "info",
            "auth.captcha",
            "is off, and anybody may make anonymous users by the thousand",
            "[auth.captcha] enabled",
        )


def _functions(settings: Settings) -> Iterator[Smell]:
    for name, function in settings.functions.items():
        if function.enabled and not function.verify_jwt:
            yield (
                "info",
                f"functions.{name}.verify_jwt",
                "is false: everybody may call it; it has to check a signature or token itself",
                "verify_jwt = true, unless it is for a provider's webhook",
            )


def _limits(settings: Settings) -> Iterator[Smell]:
    rest = settings.basalt.rest
    if rest.db_max_rows is None and settings.api.max_rows is None:
        yield "warning", "api.max_rows", "has no limit: one request may read a whole table", "max_rows = 1000"
    if not is_public(settings):
        return
    if not settings.basalt.rate_limit.enabled:
        yield "warning", "basalt.rate_limit.enabled", "is off", "enabled = true"
    elif not settings.basalt.client_address_header and is_loopback(settings.api.host):
        yield (
            "warning",
            "basalt.client_address_header",
            "is not set behind a proxy: all clients share one address, and its limits",
            'client_address_header = "X-Forwarded-For"',
        )
    if rest.db_plan_enabled:
        yield (
            "warning",
            "basalt.rest.db_plan_enabled",
            "shows query plans to everybody",
            "db_plan_enabled = false",
        )
    if settings.basalt.webhooks.allow_private:
        yield (
            "warning",
            "basalt.webhooks.allow_private",
            "lets whoever writes a webhook's address reach this network",
            "allow_private = false",
        )


def _logs(settings: Settings) -> Iterator[Smell]:
    if settings.basalt.log_level == "debug":
        yield (
            "warning" if is_public(settings) else "info",
            "basalt.log_level",
            "is debug: much is written, and slowly",
            'log_level = "info"',
        )


def _environments(settings: Settings) -> Iterator[Smell]:
    notify = settings.notify
    if not notify.enabled:
        return
    for name in _shared_secrets(notify.providers, notify.sandbox):
        yield (
            "error",
            f"notify.sandbox.{name}",
            "has the same secret as production: tests reach real people",
            "credentials of a test account",
        )
    if is_public(settings) and notify.environment != "production":
        yield (
            "warning",
            "notify.environment",
            f"is {notify.environment}, and the project is public: notifications do not reach people",
            'environment = "production"',
        )
    if not is_public(settings) and notify.environment == "production":
        yield (
            "warning",
            "notify.environment",
            "is production on a machine that is not public: tests reach real people",
            'environment = "inbox"',
        )


def _shared_secrets(production: ProviderSettings, sandbox: ProviderSettings) -> Iterator[str]:
    for provider in fields(ProviderSettings):
        real, test = getattr(production, provider.name), getattr(sandbox, provider.name)
        for spec in fields(real):
            value = getattr(real, spec.name)
            if spec.metadata.get("is_secret") and value and value == getattr(test, spec.name):
                yield f"{provider.name}.{spec.metadata.get('key') or spec.name}"


def _work(settings: Settings) -> Iterator[Smell]:
    if settings.basalt.worker.mode == "off":
        yield (
            "info",
            "basalt.worker.mode",
            "is off: jobs, schedules and webhooks need `basalt worker` on another machine",
            'mode = "process"',
        )
    if not settings.basalt.cron.enabled:
        yield (
            "info",
            "basalt.cron.enabled",
            "is false: no schedule runs by this node's worker",
            "enabled = true",
        )


def _backups(settings: Settings) -> Iterator[Smell]:
    backup = settings.basalt.backup
    if not is_public(settings):
        return
    if backup.target is None:
        if not settings.db.url:
            yield (
                "warning",
                "basalt.backup.target",
                "is not set: nothing is backed up",
                'target = "s3://BUCKET/PREFIX"',
            )
    elif backup.schedule is None:
        yield (
            "warning",
            "basalt.backup.schedule",
            "is not set: backups are made by hand only",
            'schedule = "0 3 * * *"',
        )


CONFIG_CHECKS: Final[Sequence[SettingCheck]] = (
    SettingCheck(
        name="known_secrets",
        title="Secrets that others know",
        why="Whoever knows it makes tokens of any user, or is the service role.",
        look=_known_secrets,
    ),
    SettingCheck(
        name="literal_secrets",
        title="Secrets in config.toml",
        why="The file is shared with everybody who sees the repository, for ever.",
        look=_literal_secrets,
    ),
    SettingCheck(
        name="open_files",
        title="Files with secrets that others may read",
        why="Any process of this machine can be the service role.",
        look=_open_files,
    ),
    SettingCheck(
        name="unknown_settings",
        title="Settings without effect",
        why="What was meant by it does not happen.",
        look=_unknown,
    ),
    SettingCheck(
        name="addresses",
        title="Addresses of the API and the site",
        why="Links in mails, tokens and redirects are made from them.",
        look=_addresses,
    ),
    SettingCheck(
        name="cors",
        title="Browsers of any site",
        why="Tokens do not travel by themselves as cookies do, but pages may try what a key allows.",
        look=_browsers,
    ),
    SettingCheck(
        name="mail_delivery",
        title="Mail",
        why="Nobody can confirm an address, sign in by code or recover an account.",
        look=_mail,
    ),
    SettingCheck(
        name="sign_in",
        title="Rules of sign-in",
        why="Accounts are taken over by the weakest way in.",
        look=_sign_in,
    ),
    SettingCheck(
        name="open_functions",
        title="Functions that everybody may call",
        why="Such a function runs with all its secrets for whoever asks.",
        look=_functions,
    ),
    SettingCheck(
        name="limits",
        title="Limits",
        why="One client can take everything.",
        look=_limits,
    ),
    SettingCheck(
        name="log_level",
        title="Log level",
        why="The disk fills, and what matters is not seen.",
        look=_logs,
    ),
    SettingCheck(
        name="environments",
        title="Sandbox and production of notifications",
        why="Either test messages reach people, or people get none.",
        look=_environments,
    ),
    SettingCheck(
        name="backups",
        title="Backups",
        why="Disks fail, and people delete the wrong rows.",
        look=_backups,
    ),
    SettingCheck(
        name="work_switched_off",
        title="Work that nobody does on this node",
        why="Jobs and schedules wait until some worker does them.",
        look=_work,
    ),
)
