"""`POST /logout`: this session, all the others, or every one (GoTrue logout.go)."""

from http import HTTPStatus

from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.sessions import end_client_sessions, end_session, end_sessions
from basalt.http import Response


async def sign_out(call: Call) -> Response:
    """`scope` is `global` unless the query says `local` or `others`. An OAuth client ends its own
    sessions only; GoTrue lets it end all that its user has. Raises AuthError validation_failed."""
    scope = call.query.get("scope") or "global"
    if scope not in ("global", "local", "others"):
        raise AuthError("validation_failed", f'Unsupported logout scope "{scope[:40]}"')
    user, session = call.user, call.session
    async with call.auth.transaction() as tx:
        await record(tx, user, "logout")
        if session is not None and scope == "local":
            await end_session(tx, session.id)
        elif session is not None and session.grant is not None:
            besides = session.id if scope == "others" else None
            await end_client_sessions(tx, user.id, session.grant.client_id, besides=besides)
        elif session is None or scope == "global":
            await end_sessions(tx, user)
        else:
            await end_sessions(tx, user, besides=session.id)
    return Response(HTTPStatus.NO_CONTENT)
