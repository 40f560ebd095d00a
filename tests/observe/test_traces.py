"""Spans and the headers that carry them on, against a collector that reads OTLP."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from basalt import observe
from basalt.config import OtlpSettings
from basalt.functions.service import NOBODY, build_call
from basalt.http import Headers, Request
from basalt.observe.traces import NO_SPAN, TRACEPARENT, start_traces, stop_traces
from tests.fakes.collector import Collector, collector

pytestmark = pytest.mark.req("P17", "M7")

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@contextmanager
def tracing(fake: Collector, sample_ratio: float = 1.0) -> Iterator[None]:
    """What was recorded inside has arrived afterwards."""
    settings = replace(
        OtlpSettings(), endpoint=fake.url, headers=dict(fake.headers), sample_ratio=sample_ratio
    )
    start_traces(settings, project_id="shop")
    try:
        yield
    finally:
        stop_traces(within_s=5)


def test_a_stop_sends_what_is_finished() -> None:
    with collector(authorization="Basic c2VjcmV0") as fake:
        with tracing(fake), observe.span("one", kind="client", attributes={"db.system.name": "postgresql"}):
            pass
        [span] = fake.spans
    assert (span.name, span.kind, span.parent, span.is_error) == ("one", 3, "", False)
    assert span.attributes["db.system.name"] == "postgresql"
    assert fake.problems == []


def test_spans_stand_below_each_other_and_below_what_came_in() -> None:
    with collector() as fake:
        with tracing(fake), observe.span("outer", parent=GIVEN) as outer, observe.span("inner"):
            handed_on = observe.traceparent()
            outer.note(http__route="/x")
        spans = {span.name: span for span in fake.spans}
    assert (spans["outer"].trace, spans["outer"].parent) == (GIVEN[3:35], GIVEN[36:52])
    assert spans["inner"].parent == spans["outer"].id
    assert handed_on == f"00-{GIVEN[3:35]}-{spans['inner'].id}-01"
    assert spans["outer"].attributes["http.route"] == "/x"


def test_what_raised_is_an_error_without_its_message() -> None:
    with collector() as fake:
        with tracing(fake), pytest.raises(ValueError, match="secret"), observe.span("failing"):
            raise ValueError("a secret of the user")
        [span] = fake.spans
    assert span.is_error
    assert "secret" not in str(span)


def test_a_trace_that_is_not_sampled_is_handed_on_as_such() -> None:
    with collector() as fake:
        with tracing(fake, sample_ratio=0):
            with observe.span("mine"):
                assert not int(observe.traceparent()[-2:], 16) & 1
            with observe.span("theirs", parent=GIVEN):
                assert int(observe.traceparent()[-2:], 16) & 1
        assert [span.name for span in fake.spans] == ["theirs"]


def test_a_collector_that_refuses_or_is_away_costs_the_spans_and_no_time() -> None:
    with collector() as fake:
        fake.status = 503
        start_traces(replace(OtlpSettings(), endpoint=fake.url), project_id="shop")
        with observe.span("lost"):
            pass
        started = time.monotonic()
        stop_traces(within_s=0.5)
        assert time.monotonic() - started < 2


async def test_without_a_collector_a_trace_is_handed_on_and_nothing_is_recorded() -> None:
    assert observe.span("nothing") is NO_SPAN

    async def request(given: str) -> dict[str, str]:
        observe.accept_trace(given, "vendor=1")
        observe.request_id.set("id-1")
        with observe.span("nothing") as span:
            span.note(a=1)
        return observe.outgoing_headers()

    handed_on = {"x-request-id": "id-1", "traceparent": GIVEN, "tracestate": "vendor=1"}
    assert await asyncio.create_task(request(GIVEN)) == handed_on
    assert await asyncio.create_task(request("00-nonsense\r\nx: y")) == {"x-request-id": "id-1"}
    assert observe.outgoing_headers() == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-0-0-01",
        GIVEN[:-1],
        GIVEN.upper(),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"{GIVEN}\n",
        f"ff{GIVEN[2:]}",
    ],
    ids=["empty", "short", "cut", "upper", "zero", "newline", "version"],
)
def test_what_is_no_traceparent_is_none(text: str) -> None:
    assert not TRACEPARENT.fullmatch(text)


async def test_what_others_wrote_into_the_trace_goes_on_with_it() -> None:
    with collector() as fake:
        with tracing(fake):
            observe.accept_trace(GIVEN, "vendor=1,other=2")
            with observe.span("mine", kind="server", parent=GIVEN), observe.span("inner"):
                headers = observe.outgoing_headers()
            with observe.span("another", parent=GIVEN.replace("4bf9", "0000")):
                assert "tracestate" not in observe.outgoing_headers()
        assert headers["tracestate"] == "vendor=1,other=2"
        assert headers["traceparent"].startswith(GIVEN[:35])
    observe.accept_trace("nonsense", "vendor=1")
    assert observe.outgoing_headers() == {}
    observe.accept_trace(GIVEN, "a" * 513)
    assert observe.outgoing_headers() == {"traceparent": GIVEN}
    observe.accept_trace(None)


async def test_an_id_that_no_header_can_carry_is_not_handed_on() -> None:
    """SQL gives a job what it likes."""

    async def headers(given: str) -> dict[str, str]:
        observe.request_id.set(given)
        return observe.outgoing_headers()

    for given in ("a\r\nx-evil: 1", "a" * 201, "é", ""):
        assert await asyncio.create_task(headers(given)) == {}
    assert await asyncio.create_task(headers("order/7=")) == {"x-request-id": "order/7="}


def test_a_span_with_a_parent_that_is_none_begins_a_trace() -> None:
    with collector() as fake:
        with tracing(fake), observe.span("outer"), observe.span("elsewhere", parent=""):
            pass
        spans = {span.name: span for span in fake.spans}
    assert spans["elsewhere"].parent == ""
    assert spans["elsewhere"].trace != spans["outer"].trace


def test_a_function_is_handed_no_header_of_a_trace_that_is_none() -> None:
    raw = [(b"traceparent", b"nonsense"), (b"tracestate", b"vendor=1"), (b"accept", b"a")]
    call = build_call(Request(method="GET", path="/x", headers=Headers(raw), receive=_nothing), NOBODY, b"")
    assert call.headers == {"accept": "a"}


async def _nothing() -> dict[str, object]:
    return {}
