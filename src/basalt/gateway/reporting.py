"""What is told of every request: figures, one line in the log, and a span where traces are collected."""

import random
from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from basalt import observe
from basalt.access import AccessError, AnyAuthoriser
from basalt.config import TelemetrySettings
from basalt.http import Headers

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBES = frozenset(
    {"/health", "/ready", "/metrics"}
)  # asked all the time, and worth a line only for debugging

REQUESTS = observe.Counter(
    "basalt_http_requests_total", "Answered requests.", ["service", "route", "method", "status"]
)
SECONDS = observe.Histogram(
    "basalt_http_request_seconds",
    "Time from the request's head to the end of its answer.",
    ["service", "route", "method"],
)
IN_FLIGHT = observe.Gauge("basalt_http_requests_in_flight", "Requests that are being answered.", ["service"])
SENT_BYTES = observe.Counter("basalt_http_response_bytes_total", "Bytes of bodies sent.", ["service"])
DISCONNECTS = observe.Counter(
    "basalt_http_disconnects_total", "Requests whose client went away before the answer.", ["service"]
)


class Tally:
    """What has come together under one service, route, method and status since somebody looked. A request looks one of
    these up, instead of a series in each of three metrics: 1 µs instead of 3."""

    __slots__ = ("bytes", "count", "durations")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self.durations = observe.Durations()


_tallies: dict[tuple[str, str, str, int], Tally] = {}
in_flight: defaultdict[str, int] = defaultdict(int)  # requests of each service that are being answered


def _tell() -> None:
    for (service, route, method, status), tally in _tallies.items():
        REQUESTS.add(tally.count, service, route, method, "429" if status == 429 else f"{status // 100}xx")
        SENT_BYTES.add(tally.bytes, service)
        SECONDS.take(tally.durations, service, route, method)
        tally.count = tally.bytes = 0
    for service, count in in_flight.items():
        IN_FLIGHT.set(count, service)


observe.before_scrape(_tell)


class Answered(NamedTuple):
    """A request whose answer has been written, for the log."""

    prefix: str
    service: str
    route: str
    method: str
    path: str
    query_string: bytes
    status: int
    size_bytes: int
    took_s: float
    client_ip: str
    headers: Headers


class Reporter:
    """`authorisers` say by prefix who calls, `authoriser` where there is no other; without it nobody is named."""

    def __init__(
        self,
        settings: TelemetrySettings,
        authoriser: AnyAuthoriser | None = None,
        authorisers: Mapping[str, AnyAuthoriser] = MappingProxyType({}),
    ) -> None:
        self._is_logged = settings.access_log
        self._sample = settings.access_log_sample
        self._authoriser = authoriser
        self._authorisers = authorisers

    def count(
        self, service: str, route: str, method: str, status: int, size_bytes: int, took_s: float
    ) -> None:
        key = (service, route, method if method in METHODS else "OTHER", status)
        tally = _tallies.get(key)
        if tally is None:
            tally = _tallies[key] = Tally()
        tally.count += 1
        tally.bytes += size_bytes
        tally.durations.note(took_s)

    def wants_line(self, path: str, status: int) -> bool:
        """Whether the request is to be logged."""
        return (
            self._is_logged
            and observe.is_enabled("debug" if path in PROBES else "info")
            and (self._sample >= 1 or status >= 500 or random.random() < self._sample)  # noqa: S311
        )

    def log(self, answered: Answered) -> None:
        observe.event(
            "request",
            level="debug" if answered.path in PROBES else "info",
            method=answered.method,
            path=answered.path,
            service=answered.service,
            route=answered.route,
            status=answered.status,
            bytes=answered.size_bytes,
            ms=round(answered.took_s * 1000, 2),
            client=answered.client_ip,
            **self._who(answered),
        )

    def _who(self, answered: Answered) -> dict[str, Any]:
        """Role and user. What was verified is remembered, so that this looks it up."""
        authoriser = self._authorisers.get(answered.prefix, self._authoriser)
        if authoriser is None:
            return {}
        try:
            caller = authoriser.authorise(answered.headers, answered.query_string)
        except AccessError:
            return {}
        user_id = None if caller.is_key else caller.user_id
        return {"role": caller.role, **({"user": user_id} if user_id is not None else {})}
