"""`/admin/oauth/clients` and `POST /oauth/clients/register`: clients made by the project's back end, and, where that
is allowed, by themselves (RFC 7591; GoTrue oauthserver/handlers.go)."""

from http import HTTPStatus
from typing import Any, Final
from uuid import UUID, uuid4

from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.oauth_server.client_metadata import (
    GRANT_TYPES,
    Changes,
    Registration,
    check_changes,
    check_method_of_type,
    check_registration,
    type_of_method,
)
from basalt.auth.oauth_server.clients import (
    SELECT_CLIENT,
    Client,
    client_of_row,
    hash_client_secret,
    load_client,
    new_client_secret,
    parse_client_id,
    render_client,
)
from basalt.auth.oauth_server.discovery import check_enabled
from basalt.auth.pagination import page_headers, read_page
from basalt.auth.tokens import NO_STORE
from basalt.auth.users import Transaction
from basalt.http import Response, json_response

DEFAULT_PER_PAGE: Final = 1_000  # GoTrue lists all of them at once

INSERT_CLIENT: Final = """
insert into auth.oauth_clients (id, client_secret_hash, registration_type, client_type,
    token_endpoint_auth_method, redirect_uris, grant_types, client_name, client_uri, logo_uri)
values (%(id)s, %(secret_hash)s, %(registration_type)s, %(client_type)s, %(method)s, %(redirect_uris)s,
    %(grant_types)s, %(name)s, %(uri)s, %(logo_uri)s)
"""
UPDATE_CLIENT: Final = """
update auth.oauth_clients set redirect_uris = coalesce(%(redirect_uris)s, redirect_uris),
    grant_types = coalesce(%(grant_types)s, grant_types), client_name = coalesce(%(name)s, client_name),
    client_uri = coalesce(%(uri)s, client_uri), logo_uri = coalesce(%(logo_uri)s, logo_uri),
    token_endpoint_auth_method = coalesce(%(method)s, token_endpoint_auth_method), updated_at = now()
where id = %(id)s and deleted_at is null
"""
# Codes and requests that would lead where the client no longer is.
FORGET_OLD_REDIRECTS: Final = """
delete from auth.oauth_authorizations where client_id = %(id)s and redirect_uri <> all(%(redirect_uris)s)
"""
REPLACE_HASH: Final = """
update auth.oauth_clients set client_secret_hash = %(secret_hash)s, updated_at = now()
where id = %(id)s and deleted_at is null
"""
DELETE_CLIENT: Final = """
update auth.oauth_clients set deleted_at = now(), updated_at = now()
where id = %(id)s and deleted_at is null
"""
# What the client was allowed ends with it; GoTrue leaves its sessions until they run out.
FORGET_AUTHORIZATIONS: Final = "delete from auth.oauth_authorizations where client_id = %(id)s"
REVOKE_CONSENTS: Final = """
update auth.oauth_consents set revoked_at = now() where client_id = %(id)s and revoked_at is null
"""
END_SESSIONS: Final = "delete from auth.sessions where oauth_client_id = %(id)s"
COUNT_CLIENTS: Final = "select count(*) as count from auth.oauth_clients where deleted_at is null"
LIST_CLIENTS: Final = SELECT_CLIENT + "order by c.created_at desc, c.id limit %(limit)s offset %(offset)s"


async def register_client(call: Call) -> Response:
    """Raises AuthError feature_disabled, oauth_dynamic_client_registration_disabled, over_request_rate_limit,
    validation_failed, bad_json."""
    check_enabled(call)
    await call.auth.limits.check("oauth_client_register", call.request)
    if not call.settings.oauth_server.allow_dynamic_registration:
        raise AuthError("oauth_dynamic_client_registration_disabled")
    client, secret = await _create(call, "dynamic")
    shown = render_client(client, secret)
    shown["client_id_issued_at"] = int(client.created_at.timestamp())
    if secret:
        shown["client_secret_expires_at"] = 0  # RFC 7591 §3.2.1: required, and never
    return json_response(shown, HTTPStatus.CREATED, NO_STORE)


async def create_client(call: Call) -> Response:
    """Raises AuthError feature_disabled, validation_failed, bad_json."""
    check_enabled(call)
    client, secret = await _create(call, "manual")
    return json_response(render_client(client, secret), HTTPStatus.CREATED, NO_STORE)


async def list_clients(call: Call) -> Response:
    check_enabled(call)
    page = read_page(call, default_size=DEFAULT_PER_PAGE)
    async with call.auth.transaction() as tx:
        counted = await (await tx.execute(COUNT_CLIENTS)).fetchone()
        parameters = {"limit": page.size, "offset": page.offset}
        rows = await (await tx.execute(LIST_CLIENTS, parameters)).fetchall()
    total = counted["count"] if counted else 0
    shown = {"clients": [render_client(client_of_row(row)) for row in rows]}
    return json_response(shown, headers=page_headers(call, page, total))


async def get_client(call: Call, client_id: str) -> Response:
    """Raises AuthError oauth_client_not_found, validation_failed."""
    check_enabled(call)
    async with call.auth.transaction() as tx:
        return json_response(render_client(await _named_client(tx, client_id)))


async def update_client(call: Call, client_id: str) -> Response:
    """Raises AuthError oauth_client_not_found, validation_failed, bad_json."""
    check_enabled(call)
    async with call.auth.transaction() as tx:
        client = await _named_client(tx, client_id)
    changes = await call.parameters(Changes)
    check_changes(changes)
    if changes.token_endpoint_auth_method is not None:
        check_method_of_type(changes.token_endpoint_auth_method, client.client_type)
    async with call.auth.transaction() as tx:
        await tx.execute(UPDATE_CLIENT, _updates(client.id, changes))
        if changes.redirect_uris is not None:
            parameters = {"id": client.id, "redirect_uris": changes.redirect_uris}
            await tx.execute(FORGET_OLD_REDIRECTS, parameters)
        return json_response(render_client(await _named_client(tx, client_id)))


async def delete_client(call: Call, client_id: str) -> Response:
    """Raises AuthError oauth_client_not_found, validation_failed."""
    check_enabled(call)
    async with call.auth.transaction() as tx:
        client = await _named_client(tx, client_id)
        for statement in (DELETE_CLIENT, FORGET_AUTHORIZATIONS, REVOKE_CONSENTS, END_SESSIONS):
            await tx.execute(statement, {"id": client.id})
    return Response(HTTPStatus.NO_CONTENT)


async def regenerate_secret(call: Call, client_id: str) -> Response:
    """The old secret is void at once. Raises AuthError oauth_client_not_found, validation_failed."""
    check_enabled(call)
    secret = new_client_secret()
    async with call.auth.transaction() as tx:
        client = await _named_client(tx, client_id)
        if not client.is_confidential:
            raise AuthError("validation_failed", "Cannot regenerate secret for public client")
        await tx.execute(REPLACE_HASH, {"id": client.id, "secret_hash": hash_client_secret(secret)})
        client = await _named_client(tx, client_id)
    return json_response(render_client(client, secret), headers=NO_STORE)


async def _create(call: Call, registration_type: str) -> tuple[Client, str]:
    """The new client and its secret, which is empty for a public one."""
    given = await call.parameters(Registration)
    check_registration(given)
    client_type = given.client_type or type_of_method(given.token_endpoint_auth_method)
    default_method = "none" if client_type == "public" else "client_secret_basic"
    secret = new_client_secret() if client_type == "confidential" else ""
    parameters = {
        "id": uuid4(),
        "secret_hash": hash_client_secret(secret) if secret else None,
        "registration_type": registration_type,
        "client_type": client_type,
        "method": given.token_endpoint_auth_method or default_method,
        "redirect_uris": ",".join(given.redirect_uris),
        "grant_types": ",".join(given.grant_types or GRANT_TYPES),
        "name": given.client_name,
        "uri": given.client_uri,
        "logo_uri": given.logo_uri,
    }
    async with call.auth.transaction() as tx:
        await tx.execute(INSERT_CLIENT, parameters)
        return await _named_client(tx, str(parameters["id"])), secret


async def _named_client(tx: Transaction, client_id: str) -> Client:
    parsed = parse_client_id(client_id)
    if parsed is None:
        raise AuthError("validation_failed", "invalid client_id format")
    client = await load_client(tx, parsed)
    if client is None:
        raise AuthError("oauth_client_not_found")
    return client


def _updates(client_id: UUID, changes: Changes) -> dict[str, Any]:
    return {
        "id": client_id,
        "redirect_uris": None if changes.redirect_uris is None else ",".join(changes.redirect_uris),
        "grant_types": None if changes.grant_types is None else ",".join(changes.grant_types),
        "name": changes.client_name,
        "uri": changes.client_uri,
        "logo_uri": changes.logo_uri,
        "method": changes.token_endpoint_auth_method,
    }
