"""Single sign-on by SAML 2.0: the project is a service provider, companies bring their identity providers.

`providers` keeps them, `admin` lets administrators change them, `metadata` reads what they publish and `refresh` reads
it again. `sign_on` sends somebody to a provider; what the provider answers comes to `acs`, which lets nobody in before
`response` has verified it: XML read by `xml`, signatures by `signature`, encryption by `decryption`.
`service_provider` is the project's own side.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from basalt.auth.sso.service_provider import ServiceProvider, load_service_provider

__all__ = ["ServiceProvider", "load_service_provider"]


def __getattr__(name: str) -> object:
    # libxml2 and XML signatures are for those who have SAML on.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("basalt.auth.sso.service_provider"), name)
