"""The endpoints of sign-in through other providers."""

from typing import Final

from basalt.auth.oauth import authorize, callback, custom_admin, identities
from basalt.http import Route

OAUTH_ROUTES: Final = (
    Route("GET", "/authorize", "public", authorize.authorize),
    Route("GET", "/callback", "public", callback.return_from_provider),
    Route("POST", "/callback", "public", callback.return_from_provider),
    Route("GET", "/user/identities/authorize", "user", authorize.authorize_link),
    Route("DELETE", "/user/identities/{identity_id}", "user", identities.unlink),
    Route("GET", "/admin/custom-providers", "admin", custom_admin.list_providers),
    Route("POST", "/admin/custom-providers", "admin", custom_admin.create),
    Route("GET", "/admin/custom-providers/{identifier}", "admin", custom_admin.show),
    Route("PUT", "/admin/custom-providers/{identifier}", "admin", custom_admin.update),
    Route("DELETE", "/admin/custom-providers/{identifier}", "admin", custom_admin.delete),
)
