"""The endpoints of a project that is an OAuth server."""

from typing import Final

from basalt.auth.oauth_server import (
    authorize,
    consent,
    discovery,
    grants,
    profile,
    registration,
    token_endpoint,
)
from basalt.http import Route

OAUTH_SERVER_ROUTES: Final = (
    Route("GET", "/.well-known/openid-configuration", "public", discovery.show_openid_configuration),
    Route("GET", "/.well-known/oauth-authorization-server", "public", discovery.show_server_metadata),
    Route("GET", "/oauth/authorize", "public", authorize.authorize),
    Route("POST", "/oauth/token", "public", token_endpoint.issue_token),
    Route("POST", "/oauth/clients/register", "public", registration.register_client),
    Route("GET", "/oauth/userinfo", "user", profile.show_userinfo),
    Route("GET", "/oauth/authorizations/{authorization_id}", "user", consent.show_authorization),
    Route("POST", "/oauth/authorizations/{authorization_id}/consent", "user", consent.decide),
    Route("GET", "/user/oauth/grants", "user", grants.list_grants),
    Route("DELETE", "/user/oauth/grants", "user", grants.revoke_grant),
    Route("GET", "/admin/oauth/clients", "admin", registration.list_clients),
    Route("POST", "/admin/oauth/clients", "admin", registration.create_client),
    Route("GET", "/admin/oauth/clients/{client_id}", "admin", registration.get_client),
    Route("PUT", "/admin/oauth/clients/{client_id}", "admin", registration.update_client),
    Route("DELETE", "/admin/oauth/clients/{client_id}", "admin", registration.delete_client),
    Route(
        "POST",
        "/admin/oauth/clients/{client_id}/regenerate_secret",
        "admin",
        registration.regenerate_secret,
    ),
)
