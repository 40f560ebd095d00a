"""Settings of what Basalt tells about itself: the access log, metrics, and where logs and traces are sent."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from basalt.config.setting import section, setting

HEADER_TEXT = re.compile("(?:[!-~](?:[ -~]*[!-~])?)?")  # RFC 9110 §5.5


@dataclass(frozen=True, kw_only=True)
class MetricsSettings:
    enabled: bool = setting(True, "Answer `/metrics`.")
    token: str = setting(
        "",
        "Bearer token that `/metrics` asks for; without one it answers this machine only, and no proxy.",
        is_secret=True,
    )
    host: str = setting("127.0.0.1", "Address of the metrics' own port.")
    port: int = setting(
        0, "A port of its own for `/metrics`, instead of the gateway's; 0 is none.", low=0, high=65535
    )
    database: bool = setting(
        True, "Tell the figures of the database too; one of several nodes is enough to tell them."
    )


@dataclass(frozen=True, kw_only=True)
class AxiomSettings:
    """Both dataset and token switch it on."""

    dataset: str = setting("", "Dataset that log events are sent to; empty sends none.")
    token: str = setting("", "API token that may ingest into the dataset.", is_secret=True)
    url: str = setting(
        "https://api.axiom.co",
        "Axiom or what speaks like it; a base domain of an edge deployment (`https://….edge.axiom.co`) as well.",
    )
    batch: int = setting(1000, "Events that are sent at once, at most.", low=1, high=10_000)
    interval_s: float = setting(2.0, "Longest time that an event waits for others.", low=0.05, high=60)
    queue: int = setting(
        10_000, "Events that wait while Axiom cannot be reached; beyond it the oldest are dropped.", low=1
    )


@dataclass(frozen=True, kw_only=True)
class OtlpSettings:
    """Needs `pip install 'basalt[telemetry]'`."""

    endpoint: str = setting(
        "",
        "Collector that traces are sent to by OTLP over HTTP, such as `http://127.0.0.1:4318`; empty sends none.",
    )
    headers: Mapping[str, str] = setting({}, "Headers that the collector wants.", is_secret=True)
    sample_ratio: float = setting(
        1.0,
        "Share of the traces begun here that is recorded; one begun elsewhere goes on as it began.",
        low=0,
        high=1,
    )


@dataclass(frozen=True, kw_only=True)
class TelemetrySettings:
    access_log: bool = setting(True, "Log each request, at severity `info`.")
    access_log_sample: float = setting(
        1.0, "Share of the requests that are logged; those that fail on our side always are.", low=0, high=1
    )
    metrics: MetricsSettings = section(MetricsSettings)
    axiom: AxiomSettings = section(AxiomSettings)
    otlp: OtlpSettings = section(OtlpSettings)


def find_telemetry_problems(telemetry: TelemetrySettings) -> list[tuple[str, str]]:
    """Key below `basalt.telemetry` and reason of what a single value cannot tell."""
    axiom, otlp = telemetry.axiom, telemetry.otlp
    problems = []
    if axiom.dataset and not axiom.token:
        problems.append(("axiom.token", "a dataset needs the token that may ingest into it"))
    for key, secret in (
        ("metrics.token", telemetry.metrics.token),
        ("axiom.token", axiom.token),
        *(("otlp.headers", value) for value in otlp.headers.values()),
    ):
        if not HEADER_TEXT.fullmatch(secret):
            problems.append(
                (key, "expected what a header can carry: ASCII, no line break or space at an end")
            )
    if axiom.dataset and not is_http_url(axiom.url):
        problems.append(("axiom.url", "expected an address that begins with https:// or http://"))
    if otlp.endpoint and not is_http_url(otlp.endpoint):
        problems.append(("otlp.endpoint", "expected an address that begins with https:// or http://"))
    return problems


def is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
