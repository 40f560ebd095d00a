"""`/admin/users/{user_id}/factors`: a user's second factors, in the hands of the project's back end (GoTrue
admin.go)."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import psycopg

from basalt.auth.addresses import normalise_phone
from basalt.auth.admin import named_user
from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.mfa.enrol import DELETE_FACTOR
from basalt.auth.mfa.factors import Factor, check_name, load_factor
from basalt.auth.mfa.step_up import lock_sessions, lower_sessions
from basalt.auth.render import render_factor
from basalt.auth.users import Transaction, User, reload_user
from basalt.http import Response, json_response

SET_NAME: Final = "update auth.mfa_factors set friendly_name = %(name)s, updated_at = now() where id = %(id)s"
SET_PHONE: Final = "update auth.mfa_factors set phone = %(phone)s, updated_at = now() where id = %(id)s"
# Their codes went to the number of before.
DELETE_CHALLENGES: Final = "delete from auth.mfa_challenges where factor_id = %(id)s and verified_at is null"


class Parameters(msgspec.Struct):
    friendly_name: str = ""
    phone: str = ""


async def list_factors(call: Call, user_id: str) -> Response:
    async with call.auth.transaction() as tx:
        user = await named_user(tx, user_id)
    return json_response([render_factor(factor) for factor in user.factors])


async def delete_factor(call: Call, user_id: str, factor_id: str) -> Response:
    """Raises AuthError user_not_found, mfa_factor_not_found."""
    async with call.auth.transaction() as tx:
        user = await named_user(tx, user_id)
        await lock_sessions(tx, user)
        factor = await load_factor(tx, user, factor_id, lock=True)
        shown = render_factor(_row(user, factor))
        await record(tx, user, "factor_deleted", {"user_id": str(user.id), "factor_id": str(factor.id)})
        await tx.execute(DELETE_FACTOR, {"id": factor.id})
        await lower_sessions(tx, user, factor)
    return json_response(shown)


async def update_factor(call: Call, user_id: str, factor_id: str) -> Response:
    """Name, and number of a phone. Raises AuthError user_not_found, mfa_factor_not_found, mfa_factor_name_conflict,
    mfa_verified_factor_exists, validation_failed."""
    parameters = await call.parameters(Parameters)
    check_name(parameters.friendly_name)
    async with call.auth.transaction() as tx:
        user = await named_user(tx, user_id)
        factor = await load_factor(tx, user, factor_id, lock=True)
        await _apply(tx, factor, parameters)
        traits = {"user_id": str(user.id), "factor_id": str(factor.id), "factor_type": factor.type}
        await record(tx, call.admin, "factor_updated", traits)
        shown = render_factor(_row(await reload_user(tx, user), factor))
    return json_response(shown)


async def _apply(tx: Transaction, factor: Factor, parameters: Parameters) -> None:
    try:
        if parameters.friendly_name:
            await tx.execute(SET_NAME, {"id": factor.id, "name": parameters.friendly_name})
        if parameters.phone and factor.type == "phone":
            phone = normalise_phone(parameters.phone)
            if phone != factor.phone:
                await tx.execute(SET_PHONE, {"id": factor.id, "phone": phone})
                await tx.execute(DELETE_CHALLENGES, {"id": factor.id})
    except psycopg.errors.UniqueViolation as exc:
        if exc.diag.constraint_name == "unique_phone_factor_per_user":
            message = "A phone factor with this number already exists for this user"
            raise AuthError("mfa_verified_factor_exists", message) from exc
        raise AuthError("mfa_factor_name_conflict") from exc


def _row(user: User, factor: Factor) -> Mapping[str, Any]:
    """The factor as it stands in the user's row. A factor that came after that was read is not there yet."""
    found = next((row for row in user.factors if row["id"] == str(factor.id)), None)
    if found is None:
        raise AuthError("mfa_factor_not_found")
    return found
