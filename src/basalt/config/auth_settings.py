"""The settings of Auth, `[auth]`: the Supabase CLI's keys, and GoTrue's own where the CLI has none for them.

Secrets are optional texts, so that `secret = "env(NAME)"` in a section that is switched off needs no variable.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from basalt.config.setting import section, setting


@dataclass(frozen=True, kw_only=True)
class SmtpSettings:
    enabled: bool = setting(
        True, "Send mails by this server, where `host` is set; else they go to the Inbox."
    )
    host: str | None = setting(None, "Name of the SMTP server.")
    port: int = setting(
        587, "Its port; 465 is TLS from the start, others use STARTTLS where offered.", low=1, high=65535
    )
    user: str | None = setting(None, "User name.")
    password: str | None = setting(None, "Password.", key="pass", is_secret=True)
    admin_email: str = setting("admin@localhost", "Sender's address.")
    sender_name: str = setting("", "Sender's name.")
    timeout_s: float = setting(10.0, "Longest time for a message.", low=0.1, high=300)


@dataclass(frozen=True, kw_only=True)
class MailTemplateSettings:
    subject: str | None = setting(None, "Subject, a template.")
    content: str | None = setting(None, "HTML of the mail, a template.")
    content_path: str | None = setting(None, "File with the HTML, relative to the project or to supabase/.")


@dataclass(frozen=True, kw_only=True)
class NotificationSettings:
    enabled: bool = setting(False, "Tell the user by mail.")
    subject: str | None = setting(None, "Subject, a template.")
    content: str | None = setting(None, "HTML of the mail, a template.")
    content_path: str | None = setting(None, "File with the HTML, relative to the project or to supabase/.")


@dataclass(frozen=True, kw_only=True)
class EmailSettings:
    enable_signup: bool = setting(True, "Allow sign-up by e-mail address.")
    enable_confirmations: bool = setting(False, "An address must be confirmed before its first sign-in.")
    double_confirm_changes: bool = setting(True, "A change of address is confirmed from both mailboxes.")
    secure_password_change: bool = setting(False, "Changing a password needs a recent sign-in or a nonce.")
    require_current_password: bool = setting(False, "Changing a password needs the present one.")
    allow_unverified_sign_ins: bool = setting(False, "Unconfirmed addresses may sign in.")
    max_frequency_s: float = setting(1.0, "Shortest time between two mails of one kind to one user.", low=0)
    otp_length: int = setting(6, "Digits of a mailed code.", low=6, high=10)
    otp_expiry_s: float = setting(3600.0, "Life of a mailed code or link.", low=1, high=86400)
    smtp: SmtpSettings = section(SmtpSettings)
    template: Mapping[str, MailTemplateSettings] = setting(
        {},
        "Mails of the flows: `invite`, `confirmation`, `recovery`, `magic_link`, `email_change`, `reauthentication`; "
        "`NAME.LANGUAGE` is for users whose metadata name that language.",
    )
    notification: Mapping[str, NotificationSettings] = setting(
        {},
        "Mails about changes: `password_changed`, `email_changed`, `phone_changed`, `identity_linked`, "
        "`identity_unlinked`, `mfa_factor_enrolled`, `mfa_factor_unenrolled`.",
    )


@dataclass(frozen=True, kw_only=True)
class TwilioSettings:
    enabled: bool = setting(False, "Send text messages by this provider.")
    account_sid: str = setting("", "Account SID.")
    message_service_sid: str = setting("", "Messaging service SID, or the sender's number.")
    content_sid: str = setting("", "Content template for WhatsApp.")
    auth_token: str | None = setting(None, "Auth token.", is_secret=True)
    api_url: str | None = setting(
        None, "Address of the API, for another region; by default https://api.twilio.com."
    )


@dataclass(frozen=True, kw_only=True)
class TwilioVerifySettings:
    enabled: bool = setting(False, "Let this provider make, send and check the codes.")
    account_sid: str = setting("", "Account SID.")
    message_service_sid: str = setting("", "Verify service SID.")
    auth_token: str | None = setting(None, "Auth token.", is_secret=True)
    api_url: str | None = setting(
        None, "Address of the API, for another region; by default https://verify.twilio.com."
    )


@dataclass(frozen=True, kw_only=True)
class MessageBirdSettings:
    enabled: bool = setting(False, "Send text messages by this provider.")
    originator: str = setting("", "Sender.")
    access_key: str | None = setting(None, "Access key.", is_secret=True)
    api_url: str | None = setting(
        None, "Address of the API, for another region; by default https://rest.messagebird.com."
    )


@dataclass(frozen=True, kw_only=True)
class TextLocalSettings:
    enabled: bool = setting(False, "Send text messages by this provider.")
    sender: str = setting("", "Sender.")
    api_key: str | None = setting(None, "API key.", is_secret=True)
    api_url: str | None = setting(
        None, "Address of the API, for another region; by default https://api.textlocal.in."
    )


@dataclass(frozen=True, kw_only=True)
class VonageSettings:
    enabled: bool = setting(False, "Send text messages by this provider.")
    sender: str = setting("", "Sender.", key="from")
    api_key: str = setting("", "API key.", is_secret=True)
    api_secret: str | None = setting(None, "API secret.", is_secret=True)
    api_url: str | None = setting(
        None, "Address of the API, for another region; by default https://rest.nexmo.com."
    )


@dataclass(frozen=True, kw_only=True)
class SmsSettings:
    enable_signup: bool = setting(False, "Allow sign-up by phone number.")
    enable_confirmations: bool = setting(False, "A number must be confirmed before its first sign-in.")
    template: str = setting("Your code is {{ .Code }}", "Text of a code message.")
    max_frequency_s: float = setting(5.0, "Shortest time between two messages to one number.", low=0)
    otp_length: int = setting(6, "Digits of a texted code.", low=6, high=10)
    otp_expiry_s: float = setting(60.0, "Life of a texted code.", low=1, high=86400)
    test_otp: Mapping[str, str] = setting(
        {}, "Numbers (digits only) with a fixed code, for tests and app reviews."
    )
    twilio: TwilioSettings = section(TwilioSettings)
    twilio_verify: TwilioVerifySettings = section(TwilioVerifySettings)
    messagebird: MessageBirdSettings = section(MessageBirdSettings)
    textlocal: TextLocalSettings = section(TextLocalSettings)
    vonage: VonageSettings = section(VonageSettings)


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    timebox_s: float = setting(0.0, "Longest life of a session; 0 is unlimited.", low=0)
    inactivity_timeout_s: float = setting(0.0, "A session unused for so long ends; 0 is never.", low=0)
    allow_low_aal_s: float = setting(
        0.0, "A user with a second factor may stay without it for so long; 0 is unlimited.", low=0
    )
    single_per_user: bool = setting(False, "Only the newest session of a user may be refreshed.")
    tags: tuple[str, ...] = setting(
        (), "Kinds of sessions, of which a user may have one each with `single_per_user`."
    )


@dataclass(frozen=True, kw_only=True)
class AuthRateLimitSettings:
    email_sent: int = setting(2, "Mails an hour, over all users, where an SMTP server is configured.", low=0)
    sms_sent: int = setting(
        30, "Text messages an hour, over all users, where a provider is configured.", low=0
    )
    anonymous_users: int = setting(30, "Anonymous sign-ups an hour and address.", low=0)
    token_refresh: int = setting(150, "Token refreshes in five minutes and address.", low=0)
    sign_in_sign_ups: int = setting(30, "Sign-ups and sign-ins in five minutes and address.", low=0)
    token_verifications: int = setting(30, "Verifications of codes in five minutes and address.", low=0)
    web3: int = setting(30, "Wallet sign-ins in five minutes and address.", low=0)
    sso: int = setting(30, "Single sign-ons in five minutes and address.", low=0)
    saml_assertion: int = setting(15, "SAML assertions in five minutes and address.", low=0)
    passkey: int = setting(30, "Passkey sign-ins in five minutes and address.", low=0)
    factor: int = setting(15, "Challenges and verifications of factors a minute and address.", low=0)
    oauth_client_register: int = setting(10, "Registrations of OAuth clients an hour and address.", low=0)
    password_failures: int = setting(
        20,
        "Wrong passwords in fifteen minutes and account, and five times as many per address; 0 is no limit.",
        low=0,
    )
    codes_sent: int = setting(
        10, "Codes and links an hour to one mailbox or number, from any address; 0 is no limit.", low=0
    )


@dataclass(frozen=True, kw_only=True)
class CaptchaSettings:
    enabled: bool = setting(False, "Ask for a solved captcha on sign-up, sign-in, recovery and codes.")
    provider: Literal["hcaptcha", "turnstile"] = setting("hcaptcha", "Who checks it.")
    secret: str | None = setting(None, "Secret of the site.", is_secret=True)
    verify_url: str | None = setting(None, "Address of the check; by default the provider's.")
    timeout_s: float = setting(10.0, "Longest time for the check.", low=0.1, high=60)


@dataclass(frozen=True, kw_only=True)
class BreachedPasswordSettings:
    enabled: bool = setting(False, "Refuse passwords that are known from breaches.")
    url: str = setting(
        "https://api.pwnedpasswords.com/range/", "Address of the k-anonymity API; five hash digits are added."
    )
    file: str | None = setting(None, "Local bloom file instead, made by `basalt auth breached-passwords`.")
    fail_closed: bool = setting(False, "Refuse new passwords while the list cannot be asked.")
    timeout_s: float = setting(5.0, "Longest time for the check.", low=0.1, high=60)


@dataclass(frozen=True, kw_only=True)
class HookSettings:
    enabled: bool = setting(True, "Call the hook, where `uri` is set.")
    uri: str | None = setting(None, "`pg-functions://postgres/SCHEMA/FUNCTION`, or an HTTP address.")
    secrets: str | None = setting(
        None, "Standard Webhooks secrets, `v1,whsec_…`, several by `|`; for HTTP.", is_secret=True
    )


@dataclass(frozen=True, kw_only=True)
class HooksSettings:
    custom_access_token: HookSettings = section(HookSettings)
    send_email: HookSettings = section(HookSettings)
    send_sms: HookSettings = section(HookSettings)
    mfa_verification_attempt: HookSettings = section(HookSettings)
    password_verification_attempt: HookSettings = section(HookSettings)
    before_user_created: HookSettings = section(HookSettings)
    after_user_created: HookSettings = section(HookSettings)


@dataclass(frozen=True, kw_only=True)
class FactorTypeSettings:
    enroll_enabled: bool = setting(False, "Users may add such a factor.")
    verify_enabled: bool = setting(False, "Such factors may be used.")


@dataclass(frozen=True, kw_only=True)
class PhoneFactorSettings:
    enroll_enabled: bool = setting(False, "Users may add such a factor.")
    verify_enabled: bool = setting(False, "Such factors may be used.")
    otp_length: int = setting(6, "Digits of a code.", low=6, high=10)
    template: str = setting("Your code is {{ .Code }}", "Text of a code message.")
    max_frequency_s: float = setting(5.0, "Shortest time between two messages for one factor.", low=0)


@dataclass(frozen=True, kw_only=True)
class MfaSettings:
    max_enrolled_factors: int = setting(10, "Factors that a user may have.", low=0)
    challenge_expiry_s: float = setting(300.0, "Life of a challenge.", low=1, high=86400)
    factor_expiry_s: float = setting(300.0, "An unverified factor is given up after so long.", low=1)
    totp: FactorTypeSettings = section(FactorTypeSettings)
    phone: PhoneFactorSettings = section(PhoneFactorSettings)
    web_authn: FactorTypeSettings = section(FactorTypeSettings)


@dataclass(frozen=True, kw_only=True)
class WebAuthnSettings:
    rp_id: str | None = setting(
        None,
        "Relying party's domain; by default the host of `auth.site_url`, `localhost` for a loopback address.",
    )
    rp_display_name: str | None = setting(None, "Its name as users see it; by default `rp_id`.")
    rp_origins: tuple[str, ...] = setting((), "Origins of the pages; by default that of `auth.site_url`.")
    challenge_expiry_s: float = setting(300.0, "Life of a ceremony.", low=1, high=3600)


@dataclass(frozen=True, kw_only=True)
class PasskeySettings:
    enabled: bool = setting(False, "Allow sign-in by passkey.")
    max_per_user: int = setting(10, "Passkeys that a user may have.", low=1)


@dataclass(frozen=True, kw_only=True)
class ExternalProviderSettings:
    enabled: bool = setting(False, "Allow sign-in by this provider.")
    client_id: str = setting("", "Client id; more ids whose ID tokens are taken follow after commas.")
    secret: str | None = setting(None, "Client secret.", is_secret=True)
    redirect_uri: str | None = setting(None, "Callback address; by default `/auth/v1/callback` of the API.")
    url: str | None = setting(None, "Base address of a self-hosted provider, or its tenant's.")
    skip_nonce_check: bool = setting(False, "Take ID tokens whose nonce was not sent along.")
    email_optional: bool = setting(False, "Users without an e-mail address may sign in.")
    issuer: str | None = setting(None, "Of a provider of your own: its issuer; the rest is discovered.")
    discovery_url: str | None = setting(
        None, "Of a provider of your own: its discovery document, if elsewhere."
    )
    authorization_url: str | None = setting(None, "Of a provider of your own without discovery.")
    token_url: str | None = setting(None, "Of a provider of your own without discovery.")
    userinfo_url: str | None = setting(None, "Of a provider of your own without discovery.")
    jwks_uri: str | None = setting(None, "Of a provider of your own without discovery.")
    scopes: tuple[str, ...] = setting((), "Of a provider of your own: scopes to ask for.")
    pkce: bool = setting(True, "Of a provider of your own: use PKCE towards it.")


@dataclass(frozen=True, kw_only=True)
class CustomProviderSettings:
    enabled: bool = setting(True, "Providers may be added at `/admin/custom-providers`.")
    max_providers: int = setting(0, "How many; 0 is no limit.", low=0)
    allow_private_addresses: bool = setting(
        False, "Their addresses may be private or loopback ones, and plain HTTP."
    )


@dataclass(frozen=True, kw_only=True)
class WalletSettings:
    enabled: bool = setting(False, "Allow sign-in by a wallet of this chain.")
    maximum_validity_s: float = setting(600.0, "Longest life of a signed message.", low=1, high=604800)


@dataclass(frozen=True, kw_only=True)
class Web3Settings:
    ethereum: WalletSettings = section(WalletSettings)
    solana: WalletSettings = section(WalletSettings)


@dataclass(frozen=True, kw_only=True)
class SamlSettings:
    enabled: bool = setting(False, "Allow single sign-on by SAML 2.0.")
    private_key: str | None = setting(
        None, "RSA key of the service provider, PKCS#1 in Base64.", is_secret=True
    )
    private_key_next: str | None = setting(
        None, "The key that follows it, shown in the metadata already.", is_secret=True
    )
    allow_encrypted_assertions: bool = setting(False, "Take encrypted assertions.")
    relay_state_validity_s: float = setting(120.0, "Life of a sign-on that was begun here.", low=1)
    allow_private_addresses: bool = setting(
        False, "Metadata may be fetched from private or loopback addresses, and by plain HTTP."
    )


@dataclass(frozen=True, kw_only=True)
class OAuthServerSettings:
    enabled: bool = setting(False, "Be an OAuth 2.1 and OpenID Connect server for other applications.")
    authorization_url_path: str = setting("/oauth/consent", "Page of the site that asks users for consent.")
    allow_dynamic_registration: bool = setting(False, "Clients may register themselves (RFC 7591).")
    authorization_ttl_s: float = setting(600.0, "Life of a request for consent.", low=1)
    default_scope: str = setting("email", "Scope of a request that names none.")


@dataclass(frozen=True, kw_only=True)
class AuthSettings:
    enabled: bool = setting(True, "Serve the Auth API.")
    site_url: str = setting(
        "http://127.0.0.1:3000", "Where links lead when a request names no allowed address."
    )
    additional_redirect_urls: tuple[str, ...] = setting((), "Addresses (globs) that a link may lead to.")
    jwt_expiry_s: int = setting(3600, "Life of an access token.", low=1, high=604800)
    jwt_issuer: str | None = setting(None, "`iss` of access tokens; by default the public URL with /auth/v1.")
    jwt_secret: str | None = setting(
        None, "HS256 secret; by default generated at the first start.", is_secret=True
    )
    jwt_algorithm: Literal["HS256", "ES256"] = setting(
        "HS256", "How new access tokens are signed, without signing_keys_path."
    )
    signing_keys_path: str | None = setting(
        None, "JSON file with private signing keys (JWKs); the first signs."
    )
    publishable_key: str | None = setting(
        None, "The publishable API key; by default generated at the first start."
    )
    secret_key: str | None = setting(
        None, "The secret API key; by default generated at the first start.", is_secret=True
    )
    enable_refresh_token_rotation: bool = setting(True, "A refresh token is good for one use.")
    refresh_token_reuse_interval_s: int = setting(
        10, "So long a used refresh token still gives the current session.", low=0
    )
    enable_signup: bool = setting(True, "Allow new users to sign up.")
    enable_anonymous_sign_ins: bool = setting(False, "Allow anonymous users.")
    anonymous_user_retention_days: int = setting(
        0, "Anonymous users are deleted after so many days; 0 keeps them.", low=0
    )
    enable_manual_linking: bool = setting(False, "Users may link and unlink identities.")
    minimum_password_length: int = setting(6, "Shortest password.", low=6, high=72)
    password_requirements: Literal[
        "", "letters_digits", "lower_upper_letters_digits", "lower_upper_letters_digits_symbols"
    ] = setting("", "Characters that a password must hold.")
    breached_passwords: BreachedPasswordSettings = section(BreachedPasswordSettings)
    rate_limit: AuthRateLimitSettings = section(AuthRateLimitSettings)
    captcha: CaptchaSettings = section(CaptchaSettings)
    sessions: SessionSettings = section(SessionSettings)
    email: EmailSettings = section(EmailSettings)
    sms: SmsSettings = section(SmsSettings)
    hook: HooksSettings = section(HooksSettings)
    mfa: MfaSettings = section(MfaSettings)
    webauthn: WebAuthnSettings = section(WebAuthnSettings)
    passkey: PasskeySettings = section(PasskeySettings)
    external: Mapping[str, ExternalProviderSettings] = setting(
        {}, "Providers by name: the known ones, and any other name with an `issuer` or addresses of its own."
    )
    custom_providers: CustomProviderSettings = section(CustomProviderSettings)
    web3: Web3Settings = section(Web3Settings)
    saml: SamlSettings = section(SamlSettings)
    oauth_server: OAuthServerSettings = section(OAuthServerSettings)
