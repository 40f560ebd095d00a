"""Puts the services together: which prefix is answered by what, and what they share."""

from urllib.parse import urlsplit

from basalt.access import Authoriser, BearerAuthoriser, load_project_keys
from basalt.auth import AuthService
from basalt.config import ServerAddress, Settings
from basalt.functions import FunctionsService
from basalt.gateway.app import Gateway, Service
from basalt.gateway.cors import EXPOSED, REST_EXPOSED, ProjectCors, RestCors
from basalt.gateway.edges import RestEdge
from basalt.gateway.idempotency import Idempotency, KeyedService
from basalt.gateway.limits import RequestLimits
from basalt.gateway.probes import HealthProbe, ReadinessProbe
from basalt.gateway.well_known import WellKnown
from basalt.kv import IdempotencyKeys
from basalt.postgres import DatabaseAccess, LanePool
from basalt.realtime import build_realtime
from basalt.rest import RestService
from basalt.storage import build_storage, is_unlimited
from basalt.studio import StudioService

REST_PREFIX = "/rest/v1"
STORAGE_PREFIX = "/storage/v1"
FUNCTIONS_PREFIX = "/functions/v1"


def build_gateway(settings: Settings, access: DatabaseAccess) -> Gateway:
    """The application for one project. Nothing is connected before ASGI's lifespan begins."""
    keys = load_project_keys(settings.state_dir, settings)
    require_api_key = settings.basalt.require_api_key
    authoriser = Authoriser(keys, require_api_key=require_api_key)
    conninfo = access.conninfo("authenticator")
    lanes = _build_lanes(settings, conninfo)
    rest = settings.basalt.rest
    rest_authoriser = Authoriser(keys, require_api_key=require_api_key, settings=rest)
    rest_service = RestService(rest, rest_authoriser, lanes, conninfo, server=_address_of(settings))
    services: dict[str, Service] = {}
    if settings.api.enabled:
        services[REST_PREFIX] = rest_service
    if settings.auth.enabled:
        auth_service = AuthService(settings, keys, authoriser, access)
        services["/auth/v1"] = auth_service
        services["/.well-known"] = WellKnown(auth_service)
    realtime = build_realtime(settings, access, authoriser) if settings.realtime.enabled else None
    if realtime is not None:
        services["/realtime/v1"] = realtime
    if settings.storage.enabled:
        services[STORAGE_PREFIX] = build_storage(settings, access, authoriser, keys)
    if settings.edge_runtime.enabled:
        services[FUNCTIONS_PREFIX] = FunctionsService(settings, access, authoriser, keys)
    if settings.studio.enabled:
        services["/studio"] = StudioService(settings, authoriser, access, realtime=realtime)
    services["/health"] = HealthProbe()
    services["/ready"] = ReadinessProbe(lanes) if settings.api.enabled else HealthProbe()
    keyed = {
        REST_PREFIX: KeyedService(rest_authoriser, is_recorded=True, refuse=rest_service.refuse),
        FUNCTIONS_PREFIX: KeyedService(authoriser, takes_anyone=True),
    }
    return Gateway(
        services,
        RequestLimits(
            settings.basalt.rate_limit,
            authoriser,
            trusts_header=_trusts_header(settings),
            by_prefix={REST_PREFIX: rest_authoriser},
            passes={STORAGE_PREFIX: is_unlimited},
        ),
        base_url=settings.api_url,
        max_body_bytes=settings.basalt.max_body_bytes,
        client_address_header=settings.basalt.client_address_header,
        edges={
            REST_PREFIX: RestEdge(lambda: rest_service.settings, open_cors=ProjectCors(), exposed=EXPOSED)
        },
        idempotency=(
            Idempotency(settings.basalt.idempotency, IdempotencyKeys(conninfo), keyed)
            if settings.basalt.idempotency.enabled
            else None
        ),
    )


def build_functions_gateway(settings: Settings, access: DatabaseAccess) -> Gateway:
    """Functions alone, at the root and where clients look for them: what the worker serves on a port of its own."""
    keys = load_project_keys(settings.state_dir, settings)
    authoriser = Authoriser(keys, require_api_key=settings.basalt.require_api_key)
    functions = FunctionsService(settings, access, authoriser, keys)
    return Gateway(
        {"/functions/v1": functions, "/health": HealthProbe(), "": functions},
        RequestLimits(settings.basalt.rate_limit, authoriser, trusts_header=_trusts_header(settings)),
        base_url=settings.api_url,
        max_body_bytes=settings.basalt.max_body_bytes,
        client_address_header=settings.basalt.client_address_header,
    )


def build_rest_gateway(settings: Settings) -> Gateway:
    """REST alone, at the root: what PostgREST is."""
    assert settings.db.url is not None
    rest = settings.basalt.rest
    authoriser = BearerAuthoriser(rest)
    service = RestService(
        rest,
        authoriser,
        _build_lanes(settings, settings.db.url),
        settings.db.url,
        server=ServerAddress(settings.api.host, settings.api.port),
    )
    return Gateway(
        {"": service},
        RequestLimits(settings.basalt.rate_limit, authoriser, trusts_header=_trusts_header(settings)),
        base_url=settings.api_url,
        max_body_bytes=settings.basalt.max_body_bytes,
        client_address_header=settings.basalt.client_address_header,
        edges={"": RestEdge(lambda: service.settings, open_cors=RestCors(), exposed=REST_EXPOSED)},
    )


def _address_of(settings: Settings) -> ServerAddress:
    """Where the OpenAPI document says that REST is."""
    url = urlsplit(settings.api_url)
    port = url.port or (443 if url.scheme == "https" else 80)
    return ServerAddress(url.hostname or "", port, url.scheme, url.path + REST_PREFIX)


def _trusts_header(settings: Settings) -> bool:
    return settings.basalt.client_address_header is not None


def _build_lanes(settings: Settings, conninfo: str) -> LanePool:
    return LanePool(
        conninfo,
        size=settings.basalt.lanes,
        depth=settings.basalt.lane_depth,
        wait_s=settings.basalt.queue_timeout_s,
        name="rest",
    )
