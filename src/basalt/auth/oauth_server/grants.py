"""`/user/oauth/grants`: which clients a user has let in, and how one is turned out (GoTrue oauthserver/handlers.go)."""

from http import HTTPStatus
from typing import Final

from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.oauth_server.clients import (
    SELECT_CLIENT,
    client_of_row,
    parse_client_id,
    render_client_briefly,
)
from basalt.auth.oauth_server.discovery import check_enabled, parse_scopes
from basalt.auth.render import render_time
from basalt.auth.sessions import end_client_sessions
from basalt.http import Response, json_response

LIST_GRANTS: Final = (
    "with clients as ("
    + SELECT_CLIENT
    + """)
select c.*, g.scopes, g.granted_at
from auth.oauth_consents as g join clients as c on c.id = g.client_id
where g.user_id = %(user_id)s and g.revoked_at is null
order by g.granted_at desc, g.id"""
)
# Requests first, then the consent, then sessions: a code that is being exchanged is waited for, and what it gave ends
# too.
FORGET_REQUESTS: Final = """
delete from auth.oauth_authorizations
where user_id = %(user_id)s and client_id = %(client_id)s and status in ('pending', 'approved')
"""
REVOKE_CONSENT: Final = """
update auth.oauth_consents set revoked_at = now()
where user_id = %(user_id)s and client_id = %(client_id)s and revoked_at is null
returning id
"""


async def list_grants(call: Call) -> Response:
    check_enabled(call)
    async with call.auth.transaction() as tx:
        rows = await (await tx.execute(LIST_GRANTS, {"user_id": call.user.id})).fetchall()
    grants = [
        {
            "client": render_client_briefly(client_of_row(row)),
            "scopes": parse_scopes(row["scopes"]),
            "granted_at": render_time(row["granted_at"]),
        }
        for row in rows
    ]
    return json_response(grants)


async def revoke_grant(call: Call) -> Response:
    """Ends the client's sessions of this user, with the codes on their way. Raises AuthError validation_failed,
    oauth_consent_not_found, feature_disabled."""
    check_enabled(call)
    text = call.query.get("client_id", "")
    if not text:
        raise AuthError("validation_failed", "client_id query parameter is required")
    client_id = parse_client_id(text)
    if client_id is None:
        raise AuthError("validation_failed", "invalid client_id format")
    parameters = {"user_id": call.user.id, "client_id": client_id}
    async with call.auth.transaction() as tx:
        await tx.execute(FORGET_REQUESTS, parameters)
        revoked = await (await tx.execute(REVOKE_CONSENT, parameters)).fetchone()
        if revoked is None:
            raise AuthError("oauth_consent_not_found")
        await end_client_sessions(tx, call.user.id, client_id)
        traits = {"oauth_client_id": str(client_id), "action": "revoke_oauth_grant"}
        await record(tx, call.user, "token_revoked", traits)
    return Response(HTTPStatus.NO_CONTENT)
