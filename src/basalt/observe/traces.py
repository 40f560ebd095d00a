"""Spans, by OpenTelemetry, where a collector is configured; without one nothing of it is imported and `span` costs a
comparison.

`traceparent` and `tracestate` (W3C Trace Context) come in with a request and go out with whatever that causes; a job
has the first alone. An exporter in a thread of its own sends finished spans in batches (OTLP over HTTP); those it
cannot get rid of are dropped.
"""

import re
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from basalt.errors import BasaltError
from basalt.observe.log import event, process_name, request_id

if TYPE_CHECKING:
    from basalt.config import OtlpSettings

Kind = Literal["internal", "server", "client", "producer", "consumer"]

TRACES_PATH = "/v1/traces"
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
TRACESTATE = re.compile(r"[\t -~]{1,512}")  # whose parts are other people's
REQUEST_ID = re.compile(r"[!-~]{1,200}")  # as a header; what SQL gives a job may be anything
EXPORT_INTERVAL_MS = 2000
EXPORT_TIMEOUT_S = 10

_incoming: ContextVar[tuple[str, str]] = ContextVar("incoming_trace", default=("", ""))
_otel: "_OpenTelemetry | None" = None


class Span:
    """What happened between entering and leaving it. This one records nothing."""

    def __enter__(self) -> "Span":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def note(self, **attributes: str | int | float | bool) -> None:
        """Attributes that are known by now; `__` in a name stands for a dot."""

    def rename(self, name: str) -> None:
        """By a name that was not known at its beginning."""

    def fail(self, reason: str) -> None:
        """It did not succeed, although nothing was raised."""


NO_SPAN = Span()


def is_tracing() -> bool:
    return _otel is not None


def span(
    name: str,
    *,
    kind: Kind = "internal",
    parent: str | None = None,
    attributes: Mapping[str, str | int | float | bool] | None = None,
) -> Span:
    """A span below the present one, or below `parent`, a `traceparent` from elsewhere; one that is none, such as `""`,
    begins a trace. `with span("…") as one: …`."""
    return NO_SPAN if _otel is None else _RecordedSpan(_otel, name, kind, parent, attributes)


def traceparent() -> str:
    """The present span as other programs are told of it; what came in where none is recorded here, or `""`."""
    return _trace_headers().get("traceparent", "")


def accept_trace(traceparent: str | None, tracestate: str | None = None) -> None:
    """What came with the present request or job, to be handed on. Of what is no `traceparent` nothing is."""
    given = traceparent if traceparent is not None and TRACEPARENT.fullmatch(traceparent) else ""
    state = tracestate if given and tracestate is not None and TRACESTATE.fullmatch(tracestate) else ""
    _incoming.set((given, state))


def outgoing_headers() -> dict[str, str]:
    """Headers that tell another program what it is asked for: the id of the present request, and the trace."""
    headers = _trace_headers()
    if REQUEST_ID.fullmatch(current := request_id.get()):
        headers["x-request-id"] = current
    return headers


def _trace_headers() -> dict[str, str]:
    carrier: dict[str, str] = {}
    if _otel is not None:
        _otel.propagator.inject(carrier)
    return carrier or _incoming_headers()


def _incoming_headers() -> dict[str, str]:
    given, state = _incoming.get()
    return {name: value for name, value in (("traceparent", given), ("tracestate", state)) if value}


def start_traces(settings: "OtlpSettings", *, project_id: str) -> None:
    """Record from now on. Raises BasaltError `telemetry_missing` where OpenTelemetry is not installed."""
    global _otel
    if settings.endpoint and _otel is None:
        _otel = _OpenTelemetry(settings, project_id=project_id)


def stop_traces(*, within_s: float) -> None:
    """Send what is finished, as far as the time goes."""
    global _otel
    stopped, _otel = _otel, None
    if stopped is not None:
        stopped.stop(within_s)


class _OpenTelemetry:
    """The SDK's objects; whatever depends on its version is in here."""

    def __init__(self, settings: "OtlpSettings", *, project_id: str) -> None:
        try:
            self.trace = import_module("opentelemetry.trace")
            sdk = import_module("opentelemetry.sdk.trace")
            export = import_module("opentelemetry.sdk.trace.export")
            sampling = import_module("opentelemetry.sdk.trace.sampling")
            resources = import_module("opentelemetry.sdk.resources")
            otlp = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
            self.propagator = import_module(
                "opentelemetry.trace.propagation.tracecontext"
            ).TraceContextTextMapPropagator()
        except ImportError as exc:
            raise BasaltError(
                "telemetry_missing",
                500,
                "basalt.telemetry.otlp needs OpenTelemetry, which is not installed",
                hint="pip install 'basalt[telemetry]'",
            ) from exc
        resource = resources.Resource.create(
            {"service.name": f"basalt-{process_name()}", "service.namespace": project_id}
        )
        sampler = sampling.ParentBased(sampling.TraceIdRatioBased(settings.sample_ratio))
        self._provider = sdk.TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
        exporter = otlp.OTLPSpanExporter(
            endpoint=_traces_url(settings.endpoint), headers=dict(settings.headers), timeout=EXPORT_TIMEOUT_S
        )
        self._provider.add_span_processor(
            export.BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_INTERVAL_MS)
        )
        self.tracer = self._provider.get_tracer("basalt")

    def stop(self, within_s: float) -> None:
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(within_s)
        if ending.is_alive():
            event("spans_unsent", level="warning")


class _RecordedSpan(Span):
    def __init__(
        self,
        otel: _OpenTelemetry,
        name: str,
        kind: Kind,
        parent: str | None,
        attributes: Mapping[str, str | int | float | bool] | None,
    ) -> None:
        self._otel = otel
        context = None if parent is None else otel.propagator.extract(_carrier_of(parent))
        self._span: Any = otel.tracer.start_span(
            name,
            context=context,
            kind=otel.trace.SpanKind[kind.upper()],
            attributes=dict(attributes or {}),
            record_exception=False,
            set_status_on_exception=False,
        )
        if current := request_id.get():
            self._span.set_attribute("basalt.request_id", current)

    def __enter__(self) -> "Span":
        self._entered = self._otel.trace.use_span(
            self._span, end_on_exit=True, record_exception=False, set_status_on_exception=False
        )
        self._entered.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.fail(type(error).__name__)
        self._entered.__exit__(None, None, None)

    def note(self, **attributes: str | int | float | bool) -> None:
        for name, value in attributes.items():
            self._span.set_attribute(name.replace("__", "."), value)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self, reason: str) -> None:
        self._span.set_status(self._otel.trace.StatusCode.ERROR, reason)


def _carrier_of(parent: str) -> dict[str, str]:
    """With what else came in beside it."""
    incoming = _incoming_headers()
    return incoming if incoming.get("traceparent") == parent else {"traceparent": parent}


def _traces_url(endpoint: str) -> str:
    """
    >>> _traces_url("http://127.0.0.1:4318"), _traces_url("https://tempo.example/otlp/v1/traces")
    ('http://127.0.0.1:4318/v1/traces', 'https://tempo.example/otlp/v1/traces')
    """
    is_whole = urlsplit(endpoint).path.rstrip("/").endswith(TRACES_PATH)
    return endpoint if is_whole else endpoint.rstrip("/") + TRACES_PATH
