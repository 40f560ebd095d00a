import asyncio
import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from basalt.observe import Family, Sample, render_families
from basalt.observe.metrics import (
    DURATION_BUCKETS_S,
    MAX_SERIES,
    OTHERS,
    Counter,
    Gauge,
    Histogram,
    before_scrape,
    decode_snapshot,
    encode_snapshot,
    snapshot,
)
from basalt.observe.process import ProcessFigures

pytestmark = pytest.mark.req("P17")


def family(name: str) -> Family:
    return next(one for one in snapshot() if one.name == name)


def values(name: str) -> dict[tuple[str, ...], float]:
    return {sample.labels: sample.value for sample in family(name).samples}


def test_a_counter_adds_up_by_its_labels() -> None:
    counter = Counter("basalt_test_deliveries_total", "Deliveries.", ["provider", "status"])
    counter.add(3, "fcm", "accepted")
    counter.add(1, "fcm", "accepted")
    counter.add(1, "smtp", "failed")

    assert values("basalt_test_deliveries_total") == {("fcm", "accepted"): 4, ("smtp", "failed"): 1}


def test_a_counter_without_labels_is_told_before_it_counts() -> None:
    Counter("basalt_test_never_total", "Never.")

    assert values("basalt_test_never_total") == {(): 0}


def test_threads_lose_no_counts() -> None:
    counter = Counter("basalt_test_threads_total", "Threads.", ["kind"])

    def count() -> None:
        for _ in range(20_000):
            counter.add(1, "a")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert values("basalt_test_threads_total") == {("a",): 80_000}


def test_too_many_series_are_counted_together() -> None:
    counter = Counter("basalt_test_mistake_total", "By something that users choose.", ["name"])
    for number in range(MAX_SERIES + 50):
        counter.add(1, f"user-{number}")

    found = values("basalt_test_mistake_total")
    assert len(found) == MAX_SERIES + 1
    assert found[(OTHERS,)] == 50


@pytest.mark.parametrize("labels", [(), ("a", "b")])
def test_labels_are_those_that_were_declared(labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="has the labels"):
        Gauge(f"basalt_test_labels_{len(labels)}", "Labels.", ["one"]).set(1, *labels)


def test_a_name_stands_for_one_thing() -> None:
    Counter("basalt_test_name_total", "A name.", ["a"])
    with pytest.raises(ValueError, match="declared twice"):
        Gauge("basalt_test_name_total", "A name.", ["a"])


def test_what_a_room_knows_anyhow_is_asked_for_when_somebody_looks() -> None:
    gauge = Gauge("basalt_test_sockets", "Sockets.")
    forget = before_scrape(lambda: gauge.set(7))
    assert values("basalt_test_sockets") == {(): 7}
    forget()
    gauge.set(1)
    assert values("basalt_test_sockets") == {(): 1}


def test_prometheus_reads_what_is_written() -> None:
    odd = 'a "quoted"\\ line\nand another'
    histogram = Histogram("basalt_test_seconds", "Durations\nof tests.", ["what"])
    for seconds in (0.0005, 0.001, 0.3, 1000):
        histogram.note(seconds, odd)
    text = render_families({"gateway": [family("basalt_test_seconds")]}).decode()

    [read] = text_string_to_metric_families(text)
    assert (read.type, read.documentation) == ("histogram", "Durations\nof tests.")
    by_name = {
        (sample.name.removeprefix("basalt_test_seconds"), sample.labels.get("le")): sample.value
        for sample in read.samples
    }
    assert {sample.labels["what"] for sample in read.samples} == {odd}
    assert {sample.labels["process"] for sample in read.samples} == {"gateway"}
    assert by_name["_bucket", "0.001"] == 2
    assert by_name["_bucket", "0.5"] == 3
    assert by_name["_bucket", "60"] == 3
    assert by_name["_bucket", "+Inf"] == by_name["_count", None] == 4
    assert by_name["_sum", None] == pytest.approx(1000.3015)
    assert len(read.samples) == len(DURATION_BUCKETS_S) + 3


def test_series_of_several_processes_stand_under_one_heading() -> None:
    sockets = Family("basalt_sockets", "gauge", "Sockets.", (), [Sample((), 1)])
    text = render_families({"gateway": [sockets], "gateway-2": [sockets], "": [sockets]}).decode()

    [read] = text_string_to_metric_families(text)
    assert [sample.labels for sample in read.samples] == [
        {"process": "gateway"},
        {"process": "gateway-2"},
        {},
    ]


def test_figures_travel_between_processes() -> None:
    Histogram("basalt_test_travel_seconds", "Travels.", ["to"]).note(0.2, "gateway")
    travelled = decode_snapshot(encode_snapshot())

    here = family("basalt_test_travel_seconds")
    there = next(one for one in travelled if one.name == here.name)
    assert (there.kind, there.labels, list(there.samples), there.bounds) == (
        here.kind,
        here.labels,
        list(here.samples),
        here.bounds,
    )


def test_a_figure_that_is_no_number_costs_the_others_nothing() -> None:
    gauge = Gauge("basalt_test_odd", "Odd.", ["which"])
    for name in ("inf", "-inf", "nan"):
        gauge.set(float(name), name)
    [read] = text_string_to_metric_families(render_families({"": [family("basalt_test_odd")]}).decode())
    assert [str(sample.value) for sample in read.samples] == ["inf", "-inf", "nan"]


async def test_a_scrape_does_not_take_a_late_loop_from_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("basalt.observe.process.PULSE_S", 0.01)
    figures = ProcessFigures()
    try:
        time.sleep(0.2)  # noqa: ASYNC251  the loop is to be late
        await asyncio.sleep(0.02)
        late = [values("basalt_event_loop_lag_seconds")[()] for _ in range(2)]
    finally:
        figures.close()
    assert min(late) > 0.15
