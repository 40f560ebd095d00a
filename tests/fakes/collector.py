"""An OpenTelemetry collector: takes traces by OTLP over HTTP and reads the protobuf (opentelemetry-proto)."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.fakes.small_server import Received, Reply, small_server


@dataclass(frozen=True)
class SeenSpan:
    """Ids are hexadecimal; `parent` is empty for the first span of a trace."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    kind: int
    attributes: dict[str, object]
    is_error: bool


@dataclass
class Collector:
    """`headers` is what it wants to be sent."""

    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    spans: list[SeenSpan] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    status: int = 200

    def answer(self, request: Received) -> Reply:
        wrong = [name for name, value in self.headers.items() if request.headers.get(name) != value]
        if request.path != "/v1/traces" or wrong:
            self.problems.append(f"{request.path} {wrong}")
            return Reply(400)
        if self.status != 200:
            return Reply(self.status)
        body = request.body
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.spans += read_spans(ExportTraceServiceRequest.FromString(body))
        answer = ExportTraceServiceResponse().SerializeToString()
        return Reply(200, answer, {"content-type": "application/x-protobuf"})

    def trace(self, trace_id: str) -> list[SeenSpan]:
        return [span for span in self.spans if span.trace == trace_id]


def read_spans(request: ExportTraceServiceRequest) -> Iterator[SeenSpan]:
    for group in request.resource_spans:
        resource = {pair.key: pair.value.string_value for pair in group.resource.attributes}
        for scope in group.scope_spans:
            for span in scope.spans:
                yield SeenSpan(
                    resource["service.name"],
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.kind,
                    {
                        pair.key: getattr(pair.value, pair.value.WhichOneof("value"))
                        for pair in span.attributes
                    },
                    span.status.code == 2,
                )


@contextmanager
def collector(**headers: str) -> Iterator[Collector]:
    fake = Collector(headers=headers)
    with small_server(fake.answer) as fake.url:
        yield fake
