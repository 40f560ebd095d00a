"""Puts the services together: which prefix is answered by what, and what they share."""

from basalt.access import Authoriser, load_project_keys
from basalt.auth import AuthService
from basalt.config import Settings
from basalt.functions import FunctionsService
from basalt.gateway.app import Gateway, Service
from basalt.gateway.limits import RequestLimits
from basalt.gateway.probes import HealthProbe, ReadinessProbe
from basalt.postgres import DatabaseAccess, LanePool
from basalt.rest import RestService
from basalt.studio import StudioService


def build_gateway(settings: Settings, access: DatabaseAccess) -> Gateway:
    """The application for one project. Nothing is connected before ASGI's lifespan begins."""
    keys = load_project_keys(settings.state_dir, settings)
    authoriser = Authoriser(keys, require_api_key=settings.basalt.require_api_key)
    lanes = LanePool(
        access.conninfo("authenticator"),
        size=settings.basalt.lanes,
        depth=settings.basalt.lane_depth,
        wait_s=settings.basalt.queue_timeout_s,
        name="rest",
    )
    services: dict[str, Service] = {}
    if settings.api.enabled:
        services["/rest/v1"] = RestService(settings, authoriser, lanes, access)
    if settings.auth.enabled:
        services["/auth/v1"] = AuthService(settings, keys, authoriser, access)
    if settings.edge_runtime.enabled:
        services["/functions/v1"] = FunctionsService(settings, access, authoriser, keys)
    if settings.studio.enabled:
        services["/studio"] = StudioService(settings, authoriser, access)
    services["/health"] = HealthProbe()
    services["/ready"] = ReadinessProbe(lanes) if settings.api.enabled else HealthProbe()
    trusts_header = settings.basalt.client_address_header is not None
    return Gateway(
        services,
        RequestLimits(settings.basalt.rate_limit, authoriser, trusts_header=trusts_header),
        base_url=settings.api_url,
        max_body_bytes=settings.basalt.max_body_bytes,
        client_address_header=settings.basalt.client_address_header,
    )
