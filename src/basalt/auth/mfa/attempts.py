"""Tries at codes of second factors, counted before the code is looked at.

So twenty guesses at once are twenty tries. A text message's code ends after five; whoever knows the password cannot go
on by asking for more challenges, because the tries of a factor are limited too. GoTrue leaves both to the rate limit
per address.
"""

from typing import Final
from uuid import UUID

from basalt.auth.errors import AuthError
from basalt.auth.mfa.factors import Factor
from basalt.auth.users import Transaction

MAX_TRIES_OF_CODE: Final = 5
MAX_TRIES_OF_FACTOR: Final = 15
WINDOW_S: Final = 900

FORGET_OLD: Final = """
delete from basalt.factor_attempts
where factor_id = %(factor_id)s and attempted_at < now() - make_interval(secs => %(window_s)s)
"""
COUNT: Final = """
insert into basalt.factor_attempts as a (challenge_id, factor_id, attempts)
values (%(challenge_id)s, %(factor_id)s, 1)
on conflict (challenge_id) do update set attempts = a.attempts + 1, attempted_at = now()
"""
SUM: Final = """
select coalesce(sum(attempts), 0)::int as of_factor,
    coalesce(sum(attempts) filter (where challenge_id = %(challenge_id)s), 0)::int as of_code
from basalt.factor_attempts where factor_id = %(factor_id)s
"""
FORGET: Final = "delete from basalt.factor_attempts where factor_id = %(factor_id)s"


async def count_attempt(tx: Transaction, factor: Factor, challenge_id: UUID) -> AuthError | None:
    """One more try, or the reason why there is none left. The factor's row must be locked."""
    parameters = {"factor_id": factor.id, "challenge_id": challenge_id, "window_s": WINDOW_S}
    await tx.execute(FORGET_OLD, parameters)
    counted = await (await tx.execute(SUM, parameters)).fetchone()
    assert counted is not None
    if factor.type == "phone" and counted["of_code"] >= MAX_TRIES_OF_CODE:
        return expired(challenge_id)
    if counted["of_factor"] >= MAX_TRIES_OF_FACTOR:
        return AuthError("over_request_rate_limit", headers=[("Retry-After", str(WINDOW_S))])
    await tx.execute(COUNT, parameters)
    return None


async def forget_attempts(tx: Transaction, factor: Factor) -> None:
    """The factor was proven."""
    await tx.execute(FORGET, {"factor_id": factor.id})


def expired(challenge_id: UUID) -> AuthError:
    message = f"MFA challenge {challenge_id} has expired, verify against another challenge or create a new challenge."
    return AuthError("mfa_challenge_expired", message)
