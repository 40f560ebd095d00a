"""The endpoints of single sign-on."""

from typing import Final

from basalt.auth.sso import acs, admin, sign_on
from basalt.http import Route

SSO_ROUTES: Final = (
    Route("POST", "/sso", "public", sign_on.sign_on),
    Route("GET", "/sso/saml/metadata", "public", sign_on.show_metadata),
    Route("POST", "/sso/saml/acs", "public", acs.consume_assertion),
    Route("GET", "/admin/sso/providers", "admin", admin.show_providers),
    Route("POST", "/admin/sso/providers", "admin", admin.add_provider),
    Route("GET", "/admin/sso/providers/{provider_id}", "admin", admin.show_provider),
    Route("PUT", "/admin/sso/providers/{provider_id}", "admin", admin.update_provider),
    Route("DELETE", "/admin/sso/providers/{provider_id}", "admin", admin.remove_provider),
)
