"""The endpoints of second factors."""

from typing import Final

from basalt.auth.mfa import admin, challenge, enrol, verify
from basalt.http import Route

MFA_ROUTES: Final = (
    Route("POST", "/factors", "user", enrol.enrol),
    Route("DELETE", "/factors/{factor_id}", "user", enrol.unenrol),
    Route("POST", "/factors/{factor_id}/challenge", "user", challenge.challenge),
    Route("POST", "/factors/{factor_id}/verify", "user", verify.verify),
    Route("GET", "/admin/users/{user_id}/factors", "admin", admin.list_factors),
    Route("PUT", "/admin/users/{user_id}/factors/{factor_id}", "admin", admin.update_factor),
    Route("DELETE", "/admin/users/{user_id}/factors/{factor_id}", "admin", admin.delete_factor),
)
