"""The endpoints of single sign-on. What serves them brings libxml2 and is imported where SAML is on, or asked for."""

from typing import Final

from basalt.http import Route
from basalt.late import LateFunction

SIGN_ON = "basalt.auth.sso.sign_on"
ACS = "basalt.auth.sso.acs"
ADMIN = "basalt.auth.sso.admin"

SSO_ROUTES: Final = (
    Route("POST", "/sso", "public", LateFunction(SIGN_ON, "sign_on")),
    Route("GET", "/sso/saml/metadata", "public", LateFunction(SIGN_ON, "show_metadata")),
    Route("POST", "/sso/saml/acs", "public", LateFunction(ACS, "consume_assertion")),
    Route("GET", "/admin/sso/providers", "admin", LateFunction(ADMIN, "show_providers")),
    Route("POST", "/admin/sso/providers", "admin", LateFunction(ADMIN, "add_provider")),
    Route("GET", "/admin/sso/providers/{provider_id}", "admin", LateFunction(ADMIN, "show_provider")),
    Route("PUT", "/admin/sso/providers/{provider_id}", "admin", LateFunction(ADMIN, "update_provider")),
    Route("DELETE", "/admin/sso/providers/{provider_id}", "admin", LateFunction(ADMIN, "remove_provider")),
)
