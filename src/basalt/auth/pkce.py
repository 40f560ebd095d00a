"""PKCE (RFC 7636): a flow that begins on one page and ends on another, bound together by a challenge.

`auth.flow_state` keeps the challenge until the link has been followed; the code that the link then carries is
worth nothing without the verifier, and is used up by one exchange (GoTrue pkce.go, models/flow_state.go).
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from typing import Any, Final
from uuid import uuid4

from basalt.auth.errors import AuthError
from basalt.auth.sessions import Method
from basalt.auth.users import Transaction, User

EXPIRY_S: Final = 300.0
CHALLENGE: Final = re.compile(r"[a-zA-Z._~0-9-]+")
# Verification types and the method under which their flow was kept.
METHOD_OF_TYPE: Final[Mapping[str, Method]] = {
    "signup": "email/signup",
    "invite": "invite",
    "recovery": "recovery",
    "magiclink": "magiclink",
    "email_change": "email_change",
}

INSERT_FLOW: Final = """
insert into auth.flow_state (id, user_id, auth_code, code_challenge_method, code_challenge, provider_type,
    provider_access_token, provider_refresh_token, authentication_method, created_at, updated_at)
values (%(id)s, %(user_id)s, %(auth_code)s, %(challenge_method)s, %(challenge)s, %(provider_type)s, '', '',
    %(method)s, now(), now())
"""
ISSUE_CODE: Final = """
update auth.flow_state set auth_code_issued_at = now(), updated_at = now()
where id = (
    select id from auth.flow_state where user_id = %(user_id)s and authentication_method = %(method)s
        and code_challenge is not null
    order by created_at desc limit 1)
returning auth_code
"""
LOCK_FLOW: Final = """
select id, user_id, code_challenge, code_challenge_method::text as code_challenge_method, provider_type,
    authentication_method, provider_access_token, provider_refresh_token,
    coalesce(auth_code_issued_at, created_at) as issued_at
from auth.flow_state where auth_code = %(auth_code)s
for update
"""
USE_FLOW: Final = "delete from auth.flow_state where id = %(id)s returning id"


def check_challenge(challenge: str, method: str) -> bool:
    """Whether this is a PKCE flow. Raises AuthError validation_failed when only half of it was given, or a
    malformed one."""
    if bool(challenge) != bool(method):
        raise AuthError("validation_failed", "PKCE flow requires code_challenge_method and code_challenge")
    if not challenge:
        return False
    if not 43 <= len(challenge) <= 128:
        raise AuthError("validation_failed", "code challenge has to be between 43 and 128 characters")
    if CHALLENGE.fullmatch(challenge) is None:
        raise AuthError(
            "validation_failed",
            "code challenge can only contain alphanumeric characters, hyphens, periods, underscores and"
            " tildes",
        )
    if method.lower() not in ("s256", "plain"):
        raise AuthError("validation_failed", "unsupported code_challenge method")
    return True


async def keep_flow(
    tx: Transaction, user: User, method: Method, challenge: str, challenge_method: str, *, provider_type: str
) -> None:
    """Remember the challenge of a flow that ends in a link."""
    parameters = {
        "id": uuid4(),
        "user_id": user.id,
        "auth_code": str(uuid4()),
        "challenge": challenge,
        "challenge_method": challenge_method.lower(),
        "provider_type": provider_type,
        "method": method,
    }
    await tx.execute(INSERT_FLOW, parameters)


async def issue_auth_code(tx: Transaction, user: User, verification_type: str) -> str:
    """The code that the followed link hands to the page. Raises AuthError flow_state_not_found."""
    parameters = {"user_id": user.id, "method": METHOD_OF_TYPE.get(verification_type)}
    row = await (await tx.execute(ISSUE_CODE, parameters)).fetchone()
    if row is None:
        message = "No associated flow state found. No valid flow state found for user."
        raise AuthError("flow_state_not_found", message, status=400)
    return str(row["auth_code"])


async def exchange_auth_code(tx: Transaction, auth_code: str, verifier: str) -> Mapping[str, Any]:
    """The flow behind a code, used up. A wrong verifier leaves it, as GoTrue does. Raises AuthError
    flow_state_not_found, flow_state_expired, bad_code_verifier."""
    flow = await (await tx.execute(LOCK_FLOW, {"auth_code": auth_code})).fetchone()
    if flow is None or flow["user_id"] is None:
        raise AuthError("flow_state_not_found")
    if datetime.now(UTC) > flow["issued_at"] + timedelta(seconds=EXPIRY_S):
        raise AuthError("flow_state_expired")
    if not _verifies(flow["code_challenge"] or "", flow["code_challenge_method"], verifier):
        raise AuthError("bad_code_verifier")
    await tx.execute(USE_FLOW, {"id": flow["id"]})
    return flow


def _verifies(challenge: str, method: str | None, verifier: str) -> bool:
    given = verifier.encode()
    if method == "s256":
        given = base64.urlsafe_b64encode(hashlib.sha256(given).digest()).rstrip(b"=")
    return bool(challenge) and compare_digest(challenge.encode(), given)
