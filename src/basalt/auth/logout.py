"""`POST /logout`: this session, all the others, or every one (GoTrue logout.go)."""

from http import HTTPStatus

from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.sessions import end_session, end_sessions
from basalt.http import Response


async def sign_out(call: Call) -> Response:
    """`scope` is `global` unless the query says `local` or `others`. Raises AuthError validation_failed."""
    scope = call.query.get("scope") or "global"
    if scope not in ("global", "local", "others"):
        raise AuthError("validation_failed", f'Unsupported logout scope "{scope[:40]}"')
    user, session = call.user, call.session
    async with call.auth.transaction() as tx:
        await record(tx, user, "logout")
        if session is None or scope == "global":
            await end_sessions(tx, user)
        elif scope == "local":
            await end_session(tx, session.id)
        else:
            await end_sessions(tx, user, besides=session.id)
    return Response(HTTPStatus.NO_CONTENT)
