"""Settings that are fine on a laptop and wrong in public."""

from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from basalt.config import Settings
from basalt.project.doctor.setting_check import SettingCheck, Smell, is_loopback, is_public

LONG_TOKEN_S: Final = 86400


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


EXPOSURE_CHECKS: Final[Sequence[SettingCheck]] = (
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
        name="limits",
        title="Limits",
        why="One client can take everything.",
        look=_limits,
    ),
)
