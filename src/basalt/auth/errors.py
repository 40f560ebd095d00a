"""The catalogue of Auth's error codes and the bodies they are rendered in.

Codes, statuses and messages are GoTrue's (`internal/api/apierrors/errorcode.go`). One code may travel with
several statuses there; the table holds the usual one and a flow names another where GoTrue does.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import psycopg

from basalt.errors import BasaltError
from basalt.http import Headers, Response, json_response

API_VERSION_HEADER: Final = "x-supabase-api-version"
NAMED_CODES_SINCE: Final = date(2024, 1, 1)

# code: (status, message when the flow gives none)
CODES: Final[Mapping[str, tuple[int, str]]] = {
    "anonymous_provider_disabled": (422, "Anonymous sign-ins are disabled"),
    "bad_code_verifier": (400, "code challenge does not match previously saved code verifier"),
    "bad_json": (400, "Could not parse request body as JSON"),
    "bad_jwt": (403, "invalid JWT: unable to parse or verify signature"),
    "bad_oauth_callback": (400, "OAuth callback with invalid or missing parameters"),
    "bad_oauth_state": (400, "OAuth state is invalid"),
    "captcha_failed": (400, "captcha protection: request disallowed"),
    "conflict": (409, "Too many concurrent token refresh requests on the same session or refresh token"),
    "current_password_invalid": (400, "Current password required when setting new password."),
    "current_password_required": (400, "Current password required when setting new password."),
    "custom_provider_not_found": (404, "Custom OAuth provider not found"),
    "email_address_invalid": (400, "Email address is invalid"),
    "email_address_not_authorized": (400, "Email address cannot be used as it is not authorized"),
    "email_address_not_provided": (400, "An email address is required"),
    "email_conflict_identity_not_deletable": (422, "Unable to unlink identity due to email conflict"),
    "email_exists": (422, "A user with this email address has already been registered"),
    "email_not_confirmed": (400, "Email not confirmed"),
    "email_provider_disabled": (422, "Email logins are disabled"),
    "feature_disabled": (400, "This feature is disabled"),
    "flow_state_already_used": (400, "invalid flow state, flow state has already been used"),
    "flow_state_expired": (422, "invalid flow state, flow state has expired"),
    "flow_state_not_found": (404, "invalid flow state, no valid flow state found"),
    "hook_payload_invalid_content_type": (400, "Invalid JSON response. Received content-type"),
    "hook_payload_over_size_limit": (422, "Payload size exceeded size limit"),
    "hook_timeout": (422, "Failed to reach hook within maximum time"),
    "hook_timeout_after_retry": (422, "Failed to reach hook after maximum retries"),
    "identity_already_exists": (422, "Identity is already linked to another user"),
    "identity_not_found": (422, "Identity doesn't exist"),
    "insufficient_aal": (401, "AAL2 session is required to update email or password when MFA is enabled."),
    "invalid_credentials": (400, "Invalid login credentials"),
    "invite_not_found": (404, "Invite not found"),
    "manual_linking_disabled": (404, "Manual linking is disabled"),
    "method_not_allowed": (405, "This method is not allowed here"),
    "mfa_challenge_expired": (
        422,
        "MFA challenge has expired, verify against another challenge or create a new challenge.",
    ),
    "mfa_factor_name_conflict": (422, "A factor with this friendly name for this user already exists"),
    "mfa_factor_not_found": (404, "Factor not found"),
    "mfa_ip_address_mismatch": (422, "Challenge and verify IP addresses mismatch."),
    "mfa_phone_enroll_not_enabled": (422, "MFA enroll is disabled for Phone"),
    "mfa_phone_verify_not_enabled": (422, "MFA verification is disabled for Phone"),
    "mfa_totp_enroll_not_enabled": (422, "MFA enroll is disabled for TOTP"),
    "mfa_totp_verify_not_enabled": (422, "MFA verification is disabled for TOTP"),
    "mfa_verification_failed": (422, "Invalid TOTP code entered"),
    "mfa_verification_rejected": (403, "Further MFA verification attempts will be rejected."),
    "mfa_verified_factor_exists": (
        422,
        "A verified phone factor already exists, unenroll the existing factor to continue",
    ),
    "mfa_webauthn_enroll_not_enabled": (422, "MFA enroll is disabled for WebAuthn"),
    "mfa_webauthn_verify_not_enabled": (422, "MFA verification is disabled for WebAuthn"),
    "no_authorization": (401, "This endpoint requires a valid Bearer token"),
    "not_admin": (403, "User not allowed"),
    "not_found": (404, "There is no such endpoint"),
    "oauth_authorization_not_found": (404, "authorization not found"),
    "oauth_client_not_found": (404, "OAuth client not found"),
    "oauth_client_state_expired": (422, "OAuth state has expired"),
    "oauth_client_state_not_found": (422, "OAuth state not found or expired"),
    "oauth_consent_not_found": (404, "No active grant found for this client"),
    "oauth_dynamic_client_registration_disabled": (403, "Dynamic client registration is not enabled"),
    "oauth_invalid_state": (400, "OAuth state is invalid"),
    "oauth_provider_not_supported": (400, "Unsupported provider"),
    "otp_disabled": (422, "Signups not allowed for otp"),
    "otp_expired": (403, "Token has expired or is invalid"),
    "over_custom_provider_quota": (400, "Maximum number of custom providers reached"),
    "over_email_send_rate_limit": (429, "email rate limit exceeded"),
    "over_request_rate_limit": (429, "Request rate limit reached"),
    "over_sms_send_rate_limit": (429, "SMS rate limit exceeded"),
    "passkey_disabled": (404, "Passkeys are disabled"),
    "phone_exists": (422, "A user with this phone number has already been registered"),
    "phone_not_confirmed": (400, "Phone not confirmed"),
    "phone_provider_disabled": (422, "Phone logins are disabled"),
    "provider_disabled": (400, "Provider is not enabled"),
    "provider_email_needs_verification": (
        422,
        "Unverified email with the provider. A confirmation email has been sent to your address",
    ),
    "reauthentication_needed": (400, "Password update requires reauthentication"),
    "reauthentication_not_valid": (422, "Nonce has expired or is invalid"),
    "refresh_token_already_used": (400, "Invalid Refresh Token: Already Used"),
    "refresh_token_not_found": (400, "Invalid Refresh Token: Refresh Token Not Found"),
    "request_entity_too_large": (413, "Request body too large"),
    "request_timeout": (504, "Processing this request timed out, please retry after a moment."),
    "same_password": (422, "New password should be different from the old password."),
    "saml_assertion_no_email": (400, "SAML Assertion does not contain an email address"),
    "saml_assertion_no_user_id": (
        400,
        "SAML Assertion did not contain a persistent Subject Identifier attribute or Subject NameID"
        " uniquely identifying this user",
    ),
    "saml_entity_id_mismatch": (400, "SAML Metadata entity id does not match the configured one"),
    "saml_idp_already_exists": (422, "SAML Identity Provider with this EntityID already exists"),
    "saml_idp_not_found": (404, "SAML Identity Provider not found"),
    "saml_metadata_fetch_failed": (400, "Unable to fetch SAML metadata"),
    "saml_provider_disabled": (404, "SAML 2.0 is disabled"),
    "saml_relay_state_expired": (400, "SAML RelayState has expired. Try loging in again?"),
    "saml_relay_state_not_found": (404, "SAML RelayState does not exist, try logging in again?"),
    "session_expired": (400, "Invalid Refresh Token: Session Expired"),
    "session_not_found": (403, "Session from session_id claim in JWT does not exist"),
    "signup_disabled": (422, "Signups not allowed for this instance"),
    "single_identity_not_deletable": (422, "User must have at least 1 identity after unlinking"),
    "sms_send_failed": (422, "Error sending OTP to provider"),
    "sso_domain_already_exists": (400, "SSO domain is already assigned to an SSO identity provider"),
    "sso_provider_disabled": (403, "SSO provider is disabled"),
    "sso_provider_not_found": (404, "No SSO provider assigned for this domain"),
    "too_many_enrolled_mfa_factors": (
        422,
        "Maximum number of verified factors reached, unenroll to continue",
    ),
    "too_many_passkeys": (422, "Maximum number of passkeys reached"),
    "unavailable": (503, "The database is not available, please retry after a moment"),
    "unknown": (400, "The project's own code refused this"),
    "unexpected_audience": (400, "Unacceptable audience in id_token"),
    "unexpected_failure": (500, "Unexpected failure, please check server logs for more information"),
    "user_already_exists": (422, "User already registered"),
    "user_banned": (403, "User is banned"),
    "user_not_found": (404, "User not found"),
    "user_sso_managed": (422, "Updating email, phone, password of a SSO account only possible via SSO"),
    "validation_failed": (400, "The request is not valid"),
    "weak_password": (422, "The password is too weak"),
    "web3_provider_disabled": (422, "Web3 provider is disabled"),
    "web3_unsupported_chain": (400, "Unsupported chain"),
    "webauthn_challenge_expired": (422, "WebAuthn challenge has expired"),
    "webauthn_challenge_not_found": (404, "WebAuthn challenge not found"),
    "webauthn_credential_exists": (422, "WebAuthn credential is already registered"),
    "webauthn_credential_not_found": (404, "WebAuthn credential not found"),
    "webauthn_verification_failed": (422, "WebAuthn verification failed"),
}

# What a user's own trigger or constraint raises is shown as PostgreSQL worded it (GoTrue
# utilities/postgres.go).
SHOWN_SQLSTATES: Final = frozenset(
    {"P0001", "23000", "23001", "23502", "23503", "23505", "23514", "23P01"},
)
# `raise sqlstate 'PT403'` chooses the status, as in PostgREST.
STATUS_SQLSTATE: Final = re.compile(r"PT([45][0-9]{2})")


class AuthError(BasaltError):
    """`AuthError("otp_expired")`: status and message come from `CODES` unless given. `reasons` belong to
    weak_password."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        status: int | None = None,
        reasons: Sequence[str] = (),
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        usual_status, usual_message = CODES[code]
        super().__init__(code, status or usual_status, message or usual_message, headers=headers)
        self.reasons = tuple(reasons)


class OAuthError(BasaltError):
    """An error of the OAuth protocol itself (RFC 6749 §5.2), where GoTrue speaks it: `code` is its `error`."""

    def __init__(
        self, code: str, description: str, *, status: int = 400, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(code, status, description, headers=headers)


def auth_error(error: BasaltError) -> AuthError:
    """An error of other floors in Auth's words: too large a body, an unreadable query, a wrong method, a rate limit."""
    if isinstance(error, AuthError):
        return error
    if error.status == 429:
        return AuthError("over_request_rate_limit", headers=error.headers)
    if error.code == "payload_too_large":
        return AuthError("request_entity_too_large", error.message)
    if error.code == "rate_limit_unavailable":  # the database is well
        return AuthError("unavailable", error.message, headers=error.headers)
    if error.status == 405:
        return AuthError("method_not_allowed", error.message, headers=error.headers)
    if error.status < 500:
        return AuthError("validation_failed", error.message, status=error.status)
    return AuthError("unavailable" if error.status == 503 else "unexpected_failure", headers=error.headers)


def render_oauth_error(error: OAuthError) -> Response:
    body = {"error": error.code, "error_description": error.message}
    return json_response(body, error.status, [("cache-control", "no-store"), *error.headers])


def render_error(error: AuthError, headers: Headers, request_id: str) -> Response:
    """`{"code": 403, "error_code", "msg"}`, or `{"code", "message"}` for clients that ask for version
    2024-01-01."""
    named = _wants_named_codes(headers)
    extra = [("x-sb-error-code", error.code), *error.headers]
    if named:
        extra.append((API_VERSION_HEADER, NAMED_CODES_SINCE.isoformat()))
        body: dict[str, Any] = {"code": error.code, "message": error.message}
    else:
        raised = _shown_database_error(error.__cause__) if error.status == 500 else None
        if raised is not None:
            return json_response(raised, _shown_status(raised["code"]), extra)
        body = {"code": error.status, "error_code": error.code, "msg": error.message}
        if error.status >= 500 and request_id:
            body["error_id"] = request_id
    if error.code == "weak_password":
        body["weak_password"] = {"reasons": list(error.reasons)}
    return json_response(body, error.status, extra)


def _wants_named_codes(headers: Headers) -> bool:
    asked = headers.get(API_VERSION_HEADER)
    if asked is None:
        return False
    try:
        return date.fromisoformat(asked) >= NAMED_CODES_SINCE
    except ValueError:
        return False


def _shown_database_error(cause: BaseException | None) -> dict[str, Any] | None:
    if not isinstance(cause, psycopg.Error) or cause.sqlstate is None:
        return None
    if cause.sqlstate not in SHOWN_SQLSTATES and STATUS_SQLSTATE.fullmatch(cause.sqlstate) is None:
        return None
    diagnostics = cause.diag
    body: dict[str, Any] = {"code": cause.sqlstate, "message": diagnostics.message_primary or ""}
    if diagnostics.message_hint:
        body["hint"] = diagnostics.message_hint
    if diagnostics.message_detail and not diagnostics.message_detail.startswith("Failing row contains"):
        body["detail"] = diagnostics.message_detail
    return body


def _shown_status(sqlstate: str) -> int:
    return int(sqlstate[2:]) if STATUS_SQLSTATE.fullmatch(sqlstate) else 500
