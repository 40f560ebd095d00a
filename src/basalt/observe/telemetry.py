"""What a process sends to others about itself, from its start to its end: the log to Axiom, traces to a collector."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from basalt.late import LateModule
from basalt.observe.log import add_sink, remove_sink
from basalt.observe.traces import start_traces, stop_traces

if TYPE_CHECKING:
    from basalt.config import Settings

FLUSH_LIMIT_S = 3.0  # the supervisor waits five for what is over when everything else has ended

_axiom: Any = LateModule("basalt.observe.axiom")


class Telemetry:
    """Around the life of a process, inside of `configure`: `with Telemetry(settings): …`. What waits at the end is sent
    within the time that a stop has for open requests, and three seconds at most."""

    def __init__(self, settings: "Settings") -> None:
        telemetry = settings.basalt.telemetry
        self._otlp = telemetry.otlp
        self._project_id = settings.project_id
        self._axiom = _axiom.AxiomSink(telemetry.axiom) if telemetry.axiom.dataset else None
        self._limit_s = min(FLUSH_LIMIT_S, settings.basalt.drain_timeout_s)

    def __enter__(self) -> Self:
        """Raises BasaltError `telemetry_missing`."""
        start_traces(self._otlp, project_id=self._project_id)
        if self._axiom is not None:
            self._axiom.start()
            add_sink(self._axiom)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        began = time.monotonic()
        stop_traces(within_s=self._limit_s / 2)
        if self._axiom is not None:
            remove_sink(self._axiom)
            self._axiom.stop(within_s=self._limit_s - (time.monotonic() - began))
