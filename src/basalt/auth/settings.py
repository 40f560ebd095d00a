"""`/health`, `/settings` and the public keys: what anybody may know of this Auth (GoTrue settings.go,
jwks.go)."""

from typing import Final

from basalt.auth.call import Call
from basalt.http import Response, json_response
from basalt.senders import find_text_provider

VERSION: Final = "basalt"
PROVIDERS: Final = """
apple azure bitbucket discord facebook snapchat figma fly github gitlab google keycloak kakao linkedin
linkedin_oidc notion spotify slack slack_oidc workos twitch twitter zoom
""".split()  # noqa: SIM905
JWKS_MAX_AGE_S: Final = 600


async def show_health(call: Call) -> Response:
    return json_response(
        {
            "version": VERSION,
            "name": "GoTrue",
            "description": "GoTrue is a user registration and authentication API",
        }
    )


async def show_settings(call: Call) -> Response:
    settings = call.settings
    external = dict.fromkeys(PROVIDERS, False)
    external |= {
        "anonymous_users": settings.enable_anonymous_sign_ins,
        "email": settings.email.enable_signup,
        "phone": settings.sms.enable_signup,
        **{name: True for name, provider in settings.external.items() if provider.enabled},
    }
    return json_response(
        {
            "external": external,
            "disable_signup": not settings.enable_signup,
            "mailer_autoconfirm": not settings.email.enable_confirmations,
            "phone_autoconfirm": not settings.sms.enable_confirmations,
            "sms_provider": find_text_provider(settings.sms),
            "saml_enabled": settings.saml.enabled,
            "saml_private_key_next_configured": settings.saml.enabled
            and bool(settings.saml.private_key_next),
            "passkeys_enabled": settings.passkey.enabled,
        }
    )


async def show_jwks(call: Call) -> Response:
    headers = [("cache-control", f"public, max-age={JWKS_MAX_AGE_S}")]
    return json_response(call.auth.keys.jwks(), headers=headers)
