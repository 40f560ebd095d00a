"""What happened, told once: code reports it, this room decides what is logged, counted and traced, and how.

`event("lane_closed", reason="…")` writes one line to standard error (`log`): JSON for machines, text for a terminal.
The request id travels in a context variable and is added by itself. Fields are named by the caller, so that nothing
secret slips in with a whole object. `metrics` counts, `traces` times; `sharing` puts the figures of a node's processes
together, and `Telemetry` sends events and spans to whoever collects them.
"""

from basalt.observe.families import TEXT_FORMAT, Family, Sample, render_families
from basalt.observe.log import Level, configure, event, flush, is_enabled, process_name, request_id
from basalt.observe.masking import mask_secrets
from basalt.observe.metrics import Counter, Durations, Gauge, Histogram, before_scrape
from basalt.observe.sharing import gather, list_processes, offering
from basalt.observe.telemetry import Telemetry
from basalt.observe.traces import accept_trace, is_tracing, outgoing_headers, span, traceparent

__all__ = [
    "TEXT_FORMAT",
    "Counter",
    "Durations",
    "Family",
    "Gauge",
    "Histogram",
    "Level",
    "Sample",
    "Telemetry",
    "accept_trace",
    "before_scrape",
    "configure",
    "event",
    "flush",
    "gather",
    "is_enabled",
    "is_tracing",
    "list_processes",
    "mask_secrets",
    "offering",
    "outgoing_headers",
    "process_name",
    "render_families",
    "request_id",
    "span",
    "traceparent",
]
