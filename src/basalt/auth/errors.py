"""The catalogue of Auth's error codes and the bodies they are rendered in.

Codes, statuses and messages are GoTrue's (`internal/api/apierrors/errorcode.go`). One code may travel with
several statuses there; the table holds the usual one and a flow names another where GoTrue does.
"""

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
    "conflict": (409, "Too many concurrent token refresh requests on the same session or refresh token"),
    "email_address_invalid": (400, "Email address is invalid"),
    "email_exists": (422, "A user with this email address has already been registered"),
    "email_not_confirmed": (400, "Email not confirmed"),
    "email_provider_disabled": (422, "Email logins are disabled"),
    "flow_state_expired": (422, "invalid flow state, flow state has expired"),
    "flow_state_not_found": (404, "invalid flow state, no valid flow state found"),
    "insufficient_aal": (401, "AAL2 session is required to update email or password when MFA is enabled."),
    "invalid_credentials": (400, "Invalid login credentials"),
    "method_not_allowed": (405, "This method is not allowed here"),
    "no_authorization": (401, "This endpoint requires a valid Bearer token"),
    "not_admin": (403, "User not allowed"),
    "not_found": (404, "There is no such endpoint"),
    "otp_disabled": (422, "Signups not allowed for otp"),
    "otp_expired": (403, "Token has expired or is invalid"),
    "over_email_send_rate_limit": (429, "email rate limit exceeded"),
    "over_request_rate_limit": (429, "Request rate limit reached"),
    "over_sms_send_rate_limit": (429, "SMS rate limit exceeded"),
    "phone_exists": (422, "A user with this phone number has already been registered"),
    "phone_not_confirmed": (400, "Phone not confirmed"),
    "phone_provider_disabled": (422, "Phone logins are disabled"),
    "reauthentication_needed": (400, "Password update requires reauthentication"),
    "reauthentication_not_valid": (422, "Nonce has expired or is invalid"),
    "refresh_token_already_used": (400, "Invalid Refresh Token: Already Used"),
    "refresh_token_not_found": (400, "Invalid Refresh Token: Refresh Token Not Found"),
    "request_entity_too_large": (413, "Request body too large"),
    "same_password": (422, "New password should be different from the old password."),
    "session_expired": (400, "Invalid Refresh Token: Session Expired"),
    "session_not_found": (403, "Session from session_id claim in JWT does not exist"),
    "signup_disabled": (422, "Signups not allowed for this instance"),
    "sms_send_failed": (422, "Error sending OTP to provider"),
    "unavailable": (503, "The database is not available, please retry after a moment"),
    "unexpected_failure": (500, "Unexpected failure, please check server logs for more information"),
    "user_already_exists": (422, "User already registered"),
    "user_banned": (403, "User is banned"),
    "user_not_found": (404, "User not found"),
    "user_sso_managed": (422, "Updating email, phone, password of a SSO account only possible via SSO"),
    "validation_failed": (400, "The request is not valid"),
    "weak_password": (422, "The password is too weak"),
}

# What a user's own trigger or constraint raises is shown as PostgreSQL worded it (GoTrue
# utilities/postgres.go).
SHOWN_SQLSTATES: Final = frozenset(
    {"P0001", "23000", "23001", "23502", "23503", "23505", "23514", "23P01"},
)


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


def auth_error(error: BasaltError) -> AuthError:
    """An error of the floors below in Auth's words: too large a body, an unreadable query, a wrong method."""
    if isinstance(error, AuthError):
        return error
    if error.code == "payload_too_large":
        return AuthError("request_entity_too_large", error.message)
    if error.status == 405:
        return AuthError("method_not_allowed", error.message, headers=error.headers)
    if error.status < 500:
        return AuthError("validation_failed", error.message, status=error.status)
    return AuthError("unavailable" if error.status == 503 else "unexpected_failure", headers=error.headers)


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
            return json_response(raised, 500, extra)
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
    if not isinstance(cause, psycopg.Error) or cause.sqlstate not in SHOWN_SQLSTATES:
        return None
    diagnostics = cause.diag
    body: dict[str, Any] = {"code": cause.sqlstate, "message": diagnostics.message_primary or ""}
    if diagnostics.message_hint:
        body["hint"] = diagnostics.message_hint
    if diagnostics.message_detail and not diagnostics.message_detail.startswith("Failing row contains"):
        body["detail"] = diagnostics.message_detail
    return body
