"""Puts the services together: which prefix is answered by what, and what they share."""

from functools import partial
from urllib.parse import urlsplit

from basalt import notify, senders
from basalt.access import Authoriser, BearerAuthoriser, load_project_keys
from basalt.auth import AuthService
from basalt.config import ServerAddress, Settings
from basalt.functions import FunctionsService
from basalt.gateway.app import Gateway, Refusal, Service
from basalt.gateway.cors import EXPOSED, REST_EXPOSED, ProjectCors, RestCors
from basalt.gateway.edges import RestEdge
from basalt.gateway.idempotency import Idempotency, KeyedService
from basalt.gateway.limits import RequestLimits
from basalt.gateway.metrics_page import MetricsService
from basalt.gateway.operators import Operators
from basalt.gateway.probes import Describe, HealthProbe, ReadinessProbe
from basalt.gateway.reporting import Reporter
from basalt.gateway.well_known import WellKnown
from basalt.http import ClientAddresses
from basalt.kv import IdempotencyKeys, RateStore, build_rates
from basalt.postgres import DatabaseAccess, LanePool
from basalt.realtime import RealtimeService, build_realtime
from basalt.rest import RestService
from basalt.storage import build_storage, is_unlimited
from basalt.studio import StudioService

REST_PREFIX = "/rest/v1"
STORAGE_PREFIX = "/storage/v1"
FUNCTIONS_PREFIX = "/functions/v1"
NOTIFY_PREFIX = "/notify/v1"


def build_gateway(settings: Settings, access: DatabaseAccess) -> Gateway:
    """The application for one project. Nothing is connected before ASGI's lifespan begins."""
    keys = load_project_keys(settings.state_dir, settings)
    require_api_key = settings.basalt.require_api_key
    authoriser = Authoriser(keys, require_api_key=require_api_key)
    conninfo = access.conninfo("authenticator")
    lanes = _build_lanes(settings, conninfo)
    rates = _build_rates(settings, conninfo)
    shared_rates = None if settings.basalt.rate_limit.store == "memory" else rates
    rest = settings.basalt.rest
    rest_authoriser = Authoriser(keys, require_api_key=require_api_key, settings=rest)
    rest_service = RestService(rest, rest_authoriser, lanes, conninfo, server=_address_of(settings))
    services: dict[str, Service] = {}
    refusals: dict[str, Refusal] = {REST_PREFIX: lambda error, _: rest_service.refuse(error)}
    if settings.api.enabled:
        services[REST_PREFIX] = rest_service
    if settings.auth.enabled:
        auth_service = AuthService(settings, keys, authoriser, access, rates=shared_rates)
        services["/auth/v1"] = auth_service
        refusals["/auth/v1"] = auth_service.refuse
        services["/.well-known"] = WellKnown(auth_service)
    realtime = build_realtime(settings, access, authoriser) if settings.realtime.enabled else None
    if realtime is not None:
        services["/realtime/v1"] = realtime
    if settings.storage.enabled:
        services[STORAGE_PREFIX] = build_storage(settings, access, authoriser, keys)
    if settings.edge_runtime.enabled:
        services[FUNCTIONS_PREFIX] = FunctionsService(settings, access, authoriser, keys)
    if settings.notify.enabled:
        readers = senders.report_readers(settings)
        services[NOTIFY_PREFIX] = notify.NotifyService(settings, authoriser, access, readers)
    if settings.studio.enabled:
        services["/studio"] = StudioService(settings, authoriser, access, realtime=realtime)
    services["/health"] = HealthProbe()
    operators = Operators(settings)
    parts: dict[str, Describe] = {"realtime": partial(_describe_realtime, realtime)} if realtime else {}
    services["/ready"] = (
        ReadinessProbe(lanes, operators=operators, parts=parts, state_dir=settings.state_dir)
        if settings.api.enabled
        else HealthProbe()
    )
    if settings.basalt.telemetry.metrics.enabled:
        services["/metrics"] = MetricsService(settings, access, operators)
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
            passes={
                STORAGE_PREFIX: is_unlimited,
                **({NOTIFY_PREFIX: notify.is_signed} if settings.notify.enabled else {}),
            },
            store=rates,
        ),
        base_url=settings.api_url,
        max_body_bytes=settings.basalt.max_body_bytes,
        client_addresses=_client_addresses(settings),
        edges={
            REST_PREFIX: RestEdge(lambda: rest_service.settings, open_cors=ProjectCors(), exposed=EXPOSED)
        },
        refusals=refusals,
        idempotency=(
            Idempotency(settings.basalt.idempotency, IdempotencyKeys(conninfo), keyed)
            if settings.basalt.idempotency.enabled
            else None
        ),
        reporter=Reporter(settings.basalt.telemetry, authoriser, {REST_PREFIX: rest_authoriser}),
    )


def build_functions_gateway(settings: Settings, access: DatabaseAccess) -> Gateway:
    """Functions alone, at the root and where clients look for them: what the worker serves on a port of its own."""
    keys = load_project_keys(settings.state_dir, settings)
    authoriser = Authoriser(keys, require_api_key=settings.basalt.require_api_key)
    functions = FunctionsService(settings, access, authoriser, keys)
    return Gateway(
        {"/functions/v1": functions, "/health": HealthProbe(), "": functions},
        RequestLimits(
            settings.basalt.rate_limit,
            authoriser,
            trusts_header=_trusts_header(settings),
            store=_build_rates(settings, access.conninfo("authenticator")),
        ),
        base_url=settings.api_url,
        max_body_bytes=settings.basalt.max_body_bytes,
        client_addresses=_client_addresses(settings),
        reporter=Reporter(settings.basalt.telemetry, authoriser),
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
        RequestLimits(
            settings.basalt.rate_limit,
            authoriser,
            trusts_header=_trusts_header(settings),
            store=_build_rates(settings, settings.db.url),
        ),
        base_url=settings.api_url,
        max_body_bytes=settings.basalt.max_body_bytes,
        client_addresses=_client_addresses(settings),
        refusals={"": lambda error, _: service.refuse(error)},
        edges={"": RestEdge(lambda: service.settings, open_cors=RestCors(), exposed=REST_EXPOSED)},
        reporter=Reporter(settings.basalt.telemetry, authoriser),
    )


def _describe_realtime(realtime: RealtimeService) -> dict[str, object]:
    status = realtime.status()
    shown = ("sockets", "channels", "subscriptions", "stream", "position", "waiting_changes")
    return {name: getattr(status, name) for name in shown}


def _address_of(settings: Settings) -> ServerAddress:
    """Where the OpenAPI document says that REST is."""
    url = urlsplit(settings.api_url)
    port = url.port or (443 if url.scheme == "https" else 80)
    return ServerAddress(url.hostname or "", port, url.scheme, url.path + REST_PREFIX)


def _trusts_header(settings: Settings) -> bool:
    return settings.basalt.address_header is not None


def _client_addresses(settings: Settings) -> ClientAddresses:
    return ClientAddresses(settings.basalt.address_header, settings.basalt.trusted_proxies)


def _build_rates(settings: Settings, conninfo: str) -> RateStore:
    """Where the requests to every gateway of the installation are counted."""
    limits = settings.basalt.rate_limit
    return build_rates(
        limits,
        conninfo=conninfo,
        project_id=settings.project_id,
        url=limits.url or settings.basalt.cache.url,
    )


def _build_lanes(settings: Settings, conninfo: str) -> LanePool:
    return LanePool(
        conninfo,
        size=settings.basalt.lanes,
        depth=settings.basalt.lane_depth,
        wait_s=settings.basalt.queue_timeout_s,
        name="rest",
    )
