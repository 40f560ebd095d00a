"""`/passkeys` and `/admin/users/{user_id}/passkeys`: a user's passkeys listed, named and deleted (GoTrue
passkey_manage.go, passkey_admin.go)."""

from http import HTTPStatus
from typing import Final

import msgspec

from basalt.auth.admin import named_user
from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.passkeys.credentials import (
    check_enabled,
    check_may_manage,
    delete_passkey,
    load_passkeys,
    parse_passkey_id,
    rename_passkey,
    render_passkey,
)
from basalt.http import Response, json_response

MAX_NAME_LENGTH: Final = 120


class Parameters(msgspec.Struct):
    friendly_name: str = ""


async def list_own(call: Call) -> Response:
    """Raises AuthError passkey_disabled."""
    check_enabled(call)
    async with call.auth.transaction() as tx:
        passkeys = await load_passkeys(tx, call.user.id)
    return json_response([render_passkey(passkey) for passkey in passkeys])


async def rename(call: Call, passkey_id: str) -> Response:
    """Raises AuthError passkey_disabled, validation_failed, with 404 for what is not the user's."""
    check_enabled(call)
    named = parse_passkey_id(passkey_id)
    name = (await call.parameters(Parameters)).friendly_name
    if not name:
        raise AuthError("validation_failed", "friendly_name is required")
    if len(name) > MAX_NAME_LENGTH:
        message = f"friendly_name must be {MAX_NAME_LENGTH} characters or less"
        raise AuthError("validation_failed", message)
    async with call.auth.transaction() as tx:
        passkey = await rename_passkey(tx, call.user.id, named, name)
        await record(tx, call.user, "passkey_updated", {"passkey_id": str(named)})
    return json_response(render_passkey(passkey))


async def delete_own(call: Call, passkey_id: str) -> Response:
    """Raises AuthError passkey_disabled, insufficient_aal, validation_failed (404)."""
    check_enabled(call)
    check_may_manage(call)
    named = parse_passkey_id(passkey_id)
    async with call.auth.transaction() as tx:
        await delete_passkey(tx, call.user.id, named)
        await record(tx, call.user, "passkey_deleted", {"passkey_id": str(named)})
    return Response(HTTPStatus.NO_CONTENT)


async def list_of_user(call: Call, user_id: str) -> Response:
    """Also where passkeys are disabled, as in GoTrue: a project may look at what it has. Raises AuthError
    user_not_found."""
    async with call.auth.transaction() as tx:
        user = await named_user(tx, user_id)
        passkeys = await load_passkeys(tx, user.id)
    return json_response([render_passkey(passkey) for passkey in passkeys])


async def delete_of_user(call: Call, user_id: str, passkey_id: str) -> Response:
    """Raises AuthError user_not_found, validation_failed (404)."""
    async with call.auth.transaction() as tx:
        user = await named_user(tx, user_id)
        named = parse_passkey_id(passkey_id)
        await delete_passkey(tx, user.id, named)
        await record(tx, call.admin, "passkey_deleted", {"user_id": str(user.id), "passkey_id": str(named)})
    return Response(HTTPStatus.NO_CONTENT)
