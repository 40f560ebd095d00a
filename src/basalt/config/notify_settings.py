"""Settings of the notification engine: `[notify]`, a section of its own as in no other backend, and its providers.

Each provider has one section for production and one under `sandbox`; `environment` says which of them count. One never
stands in for the other.
"""

from dataclasses import dataclass
from typing import Literal

from basalt.config.setting import section, setting

NotifyChannel = Literal["in_app", "email", "push", "sms"]


@dataclass(frozen=True, kw_only=True)
class ResendSettings:
    api_key: str = setting("", "API key.", is_secret=True)
    sender: str = setting("", "Sender's address, also `Name <address>`.", key="from")
    webhook_secret: str = setting("", "Signing secret of its webhooks (`whsec_…`).", is_secret=True)
    api_url: str = setting("", "Address of the API, by default Resend's.")
    rate_per_s: float = setting(2.0, "Requests a second; 0 is no limit.", low=0)


@dataclass(frozen=True, kw_only=True)
class SendGridSettings:
    api_key: str = setting("", "API key.", is_secret=True)
    sender: str = setting("", "Sender's address, also `Name <address>`.", key="from")
    webhook_public_key: str = setting("", "Verification key of its signed event webhook.")
    api_url: str = setting("", "Address of the API, by default SendGrid's.")
    rate_per_s: float = setting(0.0, "Requests a second; 0 is no limit.", low=0)


@dataclass(frozen=True, kw_only=True)
class SmtpMailSettings:
    """A mail server of notifications alone; without it `auth.email.smtp` sends them."""

    host: str = setting("", "Mail server.")
    port: int = setting(587, "Its port; 465 is TLS from the first byte.", low=1, high=65535)
    user: str = setting("", "User name.")
    password: str = setting("", "Password.", key="pass", is_secret=True)
    sender: str = setting("", "Sender's address, also `Name <address>`.", key="from")
    rate_per_s: float = setting(0.0, "Mails a second; 0 is no limit.", low=0)


@dataclass(frozen=True, kw_only=True)
class TwilioMessageSettings:
    """Without it `auth.sms` sends the text messages."""

    account_sid: str = setting("", "Account SID.")
    auth_token: str = setting("", "Auth token, which signs its status callbacks too.", is_secret=True)
    sender: str = setting("", "Number or messaging service (`MG…`).", key="from")
    api_url: str = setting("", "Address of the API, by default Twilio's.")
    rate_per_s: float = setting(0.0, "Messages a second; 0 is no limit.", low=0)


@dataclass(frozen=True, kw_only=True)
class FcmSettings:
    service_account: str = setting(
        "", "Service account key as JSON, or `@file` relative to supabase/.", is_secret=True
    )
    api_url: str = setting("", "Address of the API, by default Google's.")
    connections: int = setting(4, "HTTP/2 connections.", low=1, high=64)
    streams: int = setting(100, "Requests in flight on one connection.", low=1, high=100)
    rate_per_s: float = setting(0.0, "Messages a second; 0 is no limit.", low=0)


@dataclass(frozen=True, kw_only=True)
class ApnsSettings:
    key: str = setting(
        "", "Token signing key (`.p8`) as PEM, or `@file` relative to supabase/.", is_secret=True
    )
    key_id: str = setting("", "Its id.")
    team_id: str = setting("", "The team's id.")
    topic: str = setting("", "Bundle id of the app.")
    api_url: str = setting("", "Address of the API, by default Apple's for the environment.")
    connections: int = setting(2, "HTTP/2 connections.", low=1, high=64)
    streams: int = setting(100, "Requests in flight on one connection.", low=1, high=100)
    rate_per_s: float = setting(0.0, "Messages a second; 0 is no limit.", low=0)


@dataclass(frozen=True, kw_only=True)
class ExpoSettings:
    enabled: bool = setting(False, "Send to Expo's push tokens.")
    access_token: str = setting("", "Access token, where the project asks for one.", is_secret=True)
    api_url: str = setting("", "Address of the API, by default Expo's.")
    rate_per_s: float = setting(6.0, "Requests of up to 100 messages a second; 0 is no limit.", low=0)


@dataclass(frozen=True, kw_only=True)
class OneSignalSettings:
    app_id: str = setting("", "App id.")
    api_key: str = setting("", "API key.", is_secret=True)
    api_url: str = setting("", "Address of the API, by default OneSignal's.")
    rate_per_s: float = setting(0.0, "Requests a second; 0 is no limit.", low=0)


@dataclass(frozen=True, kw_only=True)
class WebPushSettings:
    private_key: str = setting("", "VAPID private key in Base64 URL, or `@file` (PEM).", is_secret=True)
    subject: str = setting("", "Contact, as `mailto:` or `https:` address.")
    allow_private: bool = setting(False, "Send to push services at private addresses.")
    rate_per_s: float = setting(0.0, "Messages a second; 0 is no limit.", low=0)


@dataclass(frozen=True, kw_only=True)
class MixpanelSettings:
    token: str = setting("", "Project token.", is_secret=True)
    api_url: str = setting("", "Address of the API, by default Mixpanel's.")
    rate_per_s: float = setting(0.0, "Requests a second; 0 is no limit.", low=0)


@dataclass(frozen=True, kw_only=True)
class ProviderSettings:
    resend: ResendSettings = section(ResendSettings)
    sendgrid: SendGridSettings = section(SendGridSettings)
    smtp: SmtpMailSettings = section(SmtpMailSettings)
    twilio: TwilioMessageSettings = section(TwilioMessageSettings)
    fcm: FcmSettings = section(FcmSettings)
    apns: ApnsSettings = section(ApnsSettings)
    expo: ExpoSettings = section(ExpoSettings)
    onesignal: OneSignalSettings = section(OneSignalSettings)
    webpush: WebPushSettings = section(WebPushSettings)
    mixpanel: MixpanelSettings = section(MixpanelSettings)


@dataclass(frozen=True, kw_only=True)
class NotifySettings:
    enabled: bool = setting(False, "Have the notification engine and its tables.")
    environment: Literal["production", "sandbox", "inbox"] = setting(
        "inbox",
        "Whose credentials count: `providers`, `sandbox`, or none, so that everything stays in the Inbox.",
    )
    email_provider: Literal["", "resend", "sendgrid", "smtp"] = setting(
        "", "Who sends mails; by default whoever is configured."
    )
    default_locale: str = setting("en", "Locale of templates where a user's has none.")
    max_context_bytes: int = setting(64 * 1024, "Largest context of an event.", low=1024)
    max_attempts: int = setting(6, "Attempts on one channel before the next one is tried.", low=1, high=100)
    first_delay_s: float = setting(5.0, "Pause before the second attempt; it doubles.", low=0.05)
    longest_delay_s: float = setting(3600.0, "Longest pause between two attempts.", low=0.05)
    batch_size: int = setting(500, "Queue rows that a worker claims at once.", low=1, high=10_000)
    page_size: int = setting(1000, "Recipients that one step of a fan-out expands.", low=1, high=100_000)
    archive_after_s: float = setting(90 * 86400.0, "Age at which in-app notifications are archived.", low=1)
    keep_s: float = setting(365 * 86400.0, "Time after which archived notifications are deleted.", low=1)
    keep_deliveries_s: float = setting(30 * 86400.0, "Time for which settled queue rows are kept.", low=1)
    providers: ProviderSettings = section(ProviderSettings)
    sandbox: ProviderSettings = section(ProviderSettings)

    @property
    def credentials(self) -> ProviderSettings:
        """Those of the environment; empty ones where everything stays in the Inbox."""
        match self.environment:
            case "production":
                return self.providers
            case "sandbox":
                return self.sandbox
            case "inbox":
                return ProviderSettings()
