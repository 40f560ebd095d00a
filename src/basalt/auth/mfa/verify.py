"""`POST /factors/{factor_id}/verify`: the second factor is proven and the session raised to `aal2` (GoTrue mfa.go
VerifyFactor).

The steps have transactions of their own. The first finds the challenge and counts the try, before the code is looked
at and whatever becomes of it; then a hook is asked; the last, when the code is right, locks the user's sessions, uses
the challenge up and issues the session. Of two requests at once the second finds it used.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from basalt.auth.audit import record
from basalt.auth.call import Call, require_not_anonymous
from basalt.auth.errors import AuthError
from basalt.auth.hooks import HookName
from basalt.auth.mfa.attempts import count_attempt, forget_attempts
from basalt.auth.mfa.challenge import Challenge, find_challenge, use_challenge
from basalt.auth.mfa.factors import Factor, check_verify_enabled, load_factor, set_verified
from basalt.auth.mfa.step_up import lock_sessions, raise_session
from basalt.auth.mfa.totp import matching_step
from basalt.auth.notices import notify
from basalt.auth.one_time import hash_code, matches
from basalt.auth.sessions import end_sessions
from basalt.auth.tokens import session_response
from basalt.auth.users import Transaction
from basalt.http import Response
from basalt.late import LateModule

if TYPE_CHECKING:
    from basalt.auth.mfa import security_key
    from basalt.auth.mfa.security_key import Keys
    from basalt.auth.passkeys.ceremony import NewKey
else:
    security_key = LateModule("basalt.auth.mfa.security_key")

WRONG_CODE: Final = {"totp": "Invalid TOTP code entered", "phone": "Invalid MFA Phone code entered"}

SELECT_STEP: Final = "select step from basalt.totp_steps where factor_id = %(factor_id)s"
CLAIM_STEP: Final = """
insert into basalt.totp_steps as s (factor_id, step) values (%(factor_id)s, %(step)s)
on conflict (factor_id) do update set step = excluded.step where s.step < excluded.step
returning step
"""


class KeyParameters(msgspec.Struct):
    type: str = ""
    credential_response: Any = None


class Parameters(msgspec.Struct):
    challenge_id: UUID = UUID(int=0)
    code: str = ""
    webauthn: KeyParameters | None = None


@dataclass(frozen=True, slots=True)
class Try:
    """A factor, the challenge that is answered, and what is known for the answer."""

    factor: Factor
    challenge: Challenge
    last_step: int
    keys: "Keys"


# What is to be kept of a proof, in the transaction that counts; an error when the proof was used meanwhile.
Keep = Callable[[Transaction, Factor], Awaitable[AuthError | None]]


async def verify(call: Call, factor_id: str) -> Response:
    """Raises AuthError mfa_factor_not_found, mfa_…_verify_not_enabled, mfa_ip_address_mismatch,
    mfa_challenge_expired, mfa_verification_failed, mfa_verification_rejected, insufficient_aal,
    webauthn_credential_exists, session_not_found, over_request_rate_limit, validation_failed."""
    require_not_anonymous(call)
    await call.auth.limits.check("factor", call.request)
    parameters = await call.parameters(Parameters)
    attempt = await _begin(call, factor_id, parameters)
    if attempt.factor.type == "webauthn":
        outcome = await _verify_key(call, attempt, parameters)
    else:
        outcome = await _verify_code(call, attempt, parameters.code)
    if isinstance(outcome, AuthError):
        raise outcome
    return session_response(outcome)


async def _begin(call: Call, factor_id: str, parameters: Parameters) -> Try:
    async with call.auth.transaction() as tx:
        factor = await load_factor(tx, call.user, factor_id, lock=True)
        _check_request(call, factor, parameters)
        challenge = await find_challenge(call, tx, factor, parameters.challenge_id)
        refusal: AuthError | None = None
        if isinstance(challenge, AuthError):
            refusal = challenge
        elif factor.type != "webauthn":
            refusal = await count_attempt(tx, factor, challenge.id)
        step = await (await tx.execute(SELECT_STEP, {"factor_id": factor.id})).fetchone()
        keys = await security_key.load_keys(tx, call.user) if factor.type == "webauthn" else {}
    if refusal is not None:
        raise refusal
    assert isinstance(challenge, Challenge)
    return Try(factor, challenge, step["step"] if step else -1, keys)


def _check_request(call: Call, factor: Factor, parameters: Parameters) -> None:
    if not parameters.code and factor.type != "webauthn":
        raise AuthError("validation_failed", "Code needs to be non-empty")
    check_verify_enabled(call.settings, factor.type)
    if factor.type == "webauthn":
        key = parameters.webauthn
        if key is None:
            raise AuthError("validation_failed", "WebAuthn config required")
        if key.type not in ("create", "request"):
            raise AuthError("validation_failed", "WebAuthn type must be create or request")
        if key.credential_response is None:
            raise AuthError("validation_failed", "credential_response required")
    # GoTrue asks this at enrolment alone. A factor begun by somebody who knew the password, before the user had any,
    # would still open the account afterwards.
    low = call.session is None or call.session.aal == "aal1"
    if not factor.is_verified and call.user.has_verified_factor and low:
        raise AuthError("insufficient_aal", "AAL2 required to enroll a new factor", status=403)


async def _verify_code(call: Call, attempt: Try, code: str) -> dict[str, Any] | AuthError:
    factor, challenge = attempt.factor, attempt.challenge
    step = matching_step(factor.secret, code) if factor.type == "totp" else None
    if factor.type == "totp":
        is_right = step is not None and step > attempt.last_step
    elif call.auth.messages.checks_codes_elsewhere:
        is_right = await call.auth.messages.check_code(factor.phone, code)
    else:
        is_right = matches(hash_code(str(challenge.id), code), challenge.code_hash)

    async def keep(tx: Transaction, factor: Factor) -> AuthError | None:
        if step is None:
            return None
        claimed = await tx.execute(CLAIM_STEP, {"factor_id": factor.id, "step": step})
        return None if await claimed.fetchone() else _wrong_code(factor)

    rejected = await _ask_hook(call, factor, is_right=is_right)
    if rejected is not None:
        return rejected
    if not is_right:
        return _wrong_code(factor)
    async with call.auth.transaction() as tx:
        return await _finish(call, tx, factor, challenge, factor, keep)


async def _verify_key(call: Call, attempt: Try, parameters: Parameters) -> dict[str, Any] | AuthError:
    factor, challenge = attempt.factor, attempt.challenge
    ceremony, given = challenge.ceremony, parameters.webauthn
    assert given is not None
    kind = "request" if factor.is_verified else "create"
    if given.type != ceremony.get("type", kind) or given.type != kind:
        return AuthError("validation_failed", f"This challenge is to be answered by type {kind}")
    response = given.credential_response
    proof: NewKey | tuple[UUID, int] | AuthError
    if kind == "create":
        proof = await security_key.check_new_key(call, ceremony, response)
    else:
        proof = await security_key.check_key(call, ceremony, response, attempt.keys)
    if isinstance(proof, AuthError):
        return proof

    async def keep(tx: Transaction, factor: Factor) -> AuthError | None:
        if isinstance(proof, tuple):
            refusal = await security_key.count_use(tx, *proof)
        else:
            refusal = await security_key.save_key(tx, call.user, factor, proof)
        if refusal is None:
            await security_key.note_challenge(tx, factor, challenge.id, {"type": kind, **ceremony}, response)
        return refusal

    async with call.auth.transaction() as tx:
        used = factor
        if isinstance(proof, tuple) and proof[0] != factor.id:
            used = await load_factor(tx, call.user, str(proof[0]))
        return await _finish(call, tx, factor, challenge, used, keep)


async def _finish(
    call: Call, tx: Transaction, factor: Factor, challenge: Challenge, proven: Factor, keep: Keep
) -> dict[str, Any]:
    """`proven` is the factor whose key has answered: the one that the session depends on from now on. Raises
    AuthError when the session, factor, challenge or proof was used up meanwhile."""
    user = call.user
    if call.session is None or call.session.id not in await lock_sessions(tx, user):
        raise AuthError("session_not_found")
    current = await load_factor(tx, user, str(factor.id), lock=True)
    refusal = await use_challenge(tx, factor, challenge.id) or await keep(tx, current)
    if refusal is not None:
        raise refusal
    traits = {
        "factor_id": str(factor.id),
        "challenge_id": str(challenge.id),
        "factor_type": factor.type,
    }
    await record(tx, user, "verification_attempted", traits)
    await set_verified(tx, user, current)
    await forget_attempts(tx, factor)
    session = await raise_session(call, tx, user, proven)
    if not current.is_verified:
        await notify(call, tx, user, "mfa_factor_enrolled", {"FactorType": factor.type})
    return session


async def _ask_hook(call: Call, factor: Factor, *, is_right: bool) -> AuthError | None:
    """In a transaction of its own, so that a function that counts failures keeps its count. A hook that rejects ends
    all sessions of the user, as in GoTrue."""
    if not call.auth.hooks.is_enabled("mfa_verification_attempt"):
        return None
    payload = {
        "user_id": str(call.user.id),
        "factor_id": str(factor.id),
        "factor_type": factor.type,
        "valid": is_right,
    }
    name: HookName = "mfa_verification_attempt"
    answer = await call.auth.hooks.run_apart(call.request, call.auth.transaction, name, payload) or {}
    if answer.get("decision") != "reject":
        return None
    async with call.auth.transaction() as tx:
        await end_sessions(tx, call.user)
    return AuthError("mfa_verification_rejected", str(answer.get("message") or "") or None)


def _wrong_code(factor: Factor) -> AuthError:
    return AuthError("mfa_verification_failed", WRONG_CODE[factor.type])
