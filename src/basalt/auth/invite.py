"""`POST /invite`: an account that waits for its owner (GoTrue invite.go)."""

from typing import Any

import msgspec

from basalt.auth.addresses import normalise_email
from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.issue import send_invitation
from basalt.auth.render import render_user
from basalt.auth.signup import SignUp, register_for_admin
from basalt.auth.users import find_user_by_email, reload_user
from basalt.http import Response, json_response


class Parameters(msgspec.Struct):
    email: str = ""
    data: dict[str, Any] = {}


async def invite(call: Call) -> Response:
    """A user without a password, and a mail to accept. Raises AuthError email_exists, validation_failed."""
    parameters = await call.parameters(Parameters)
    email = normalise_email(parameters.email)
    async with call.auth.transaction() as tx:
        user = await find_user_by_email(tx, email, call.audience)
        if user is not None and user.has_confirmed_email:
            raise AuthError("email_exists")
        if user is None:
            user = await register_for_admin(tx, call, SignUp("email", email, "", parameters.data))
        await record(tx, call.admin, "user_invited", {"user_id": str(user.id), "user_email": user.email})
        await send_invitation(call, tx, user)
        shown = render_user(await reload_user(tx, user))
    return json_response(shown)
