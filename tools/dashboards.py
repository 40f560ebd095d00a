"""Writes the dashboards for Grafana from the table below: `python tools/dashboards.py` → `ops/grafana/*.json`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent.parent / "ops" / "grafana"
WIDTH = 12  # of 24
HEIGHT = 8
SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True)
class Panel:
    """`queries` are pairs of PromQL and legend."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    kind: Literal["timeseries", "stat", "table"] = "timeseries"


def rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}[$__rate_interval]))"


def quantile(share: float, metric: str, by: str) -> str:
    return f"histogram_quantile({share}, sum by ({by}, le) (rate({metric}_bucket[$__rate_interval])))"


DASHBOARDS: dict[str, tuple[str, Sequence[Panel]]] = {
    "overview": (
        "Basalt: overview",
        [
            Panel("Alerts firing", "short", [("sum(basalt_alerts_firing)", "")], "stat"),
            Panel("PostgreSQL", "short", [("max(basalt_postgres_up)", "up")], "stat"),
            Panel(
                "Requests",
                "reqps",
                [(rate("basalt_http_requests_total", "service"), "{{service}}")],
            ),
            Panel(
                "Answers with 5xx and 429",
                "reqps",
                [
                    (
                        rate('basalt_http_requests_total{status=~"5xx|429"}', "service, status"),
                        "{{service}} {{status}}",
                    )
                ],
            ),
            Panel("p95", "s", [(quantile(0.95, "basalt_http_request_seconds", "service"), "{{service}}")]),
            Panel("p99", "s", [(quantile(0.99, "basalt_http_request_seconds", "service"), "{{service}}")]),
            Panel(
                "In flight", "short", [("sum by (service) (basalt_http_requests_in_flight)", "{{service}}")]
            ),
            Panel(
                "Bytes sent", "Bps", [(rate("basalt_http_response_bytes_total", "service"), "{{service}}")]
            ),
            Panel(
                "Sign-ins and other events of Auth",
                "ops",
                [(rate("basalt_auth_events_total", "action"), "{{action}}")],
            ),
            Panel("Errors of REST", "ops", [(rate("basalt_rest_errors_total", "code"), "{{code}}")]),
            Panel("Memory", "bytes", [("basalt_process_resident_bytes", "{{instance}} {{process}}")]),
            Panel(
                "Processor",
                "percentunit",
                [("rate(basalt_process_cpu_seconds_total[$__rate_interval])", "{{instance}} {{process}}")],
            ),
            Panel("Event loop late", "s", [("basalt_event_loop_lag_seconds", "{{instance}} {{process}}")]),
            Panel(
                "Processes started again",
                "short",
                [("sum by (name) (increase(basalt_process_restarts_total[$__rate_interval]))", "{{name}}")],
            ),
            Panel(
                "Warnings and errors in the log",
                "ops",
                [(rate("basalt_log_events_total", "event, level"), "{{level}} {{event}}")],
            ),
            Panel(
                "Alerts",
                "short",
                [("basalt_alerts_firing > 0", "{{severity}} {{rule}}")],
            ),
        ],
    ),
    "database": (
        "Basalt: database",
        [
            Panel(
                "Connections",
                "short",
                [
                    ("max by (state) (basalt_postgres_connections)", "{{state}}"),
                    ("max(basalt_postgres_max_connections)", "limit"),
                ],
            ),
            Panel("Waiting for locks", "short", [("max(basalt_postgres_waiting_for_locks)", "")]),
            Panel("Longest transaction", "s", [("max(basalt_postgres_longest_transaction_seconds)", "")]),
            Panel(
                "Transactions",
                "ops",
                [
                    (
                        "max by (outcome) (rate(basalt_postgres_transactions_total[$__rate_interval]))",
                        "{{outcome}}",
                    )
                ],
            ),
            Panel(
                "Size",
                "bytes",
                [
                    ("max(basalt_postgres_database_bytes)", "database"),
                    ("max(basalt_postgres_wal_bytes)", "log"),
                ],
            ),
            Panel(
                "Slots",
                "bytes",
                [
                    ("max(basalt_postgres_slot_kept_bytes)", "kept"),
                    ("max(basalt_postgres_slot_lag_bytes)", "lag"),
                ],
            ),
            Panel("Slots", "short", [("max by (active) (basalt_postgres_slots)", "active {{active}}")]),
            Panel(
                "Blocks read",
                "ops",
                [("max by (from) (rate(basalt_postgres_blocks_total[$__rate_interval]))", "{{from}}")],
            ),
            Panel(
                "Deadlocks and failures to archive",
                "short",
                [
                    ("max(increase(basalt_postgres_deadlocks_total[$__rate_interval]))", "deadlocks"),
                    ("max(increase(basalt_postgres_archive_failures_total[$__rate_interval]))", "archive"),
                ],
            ),
            Panel(
                "Temporary files",
                "Bps",
                [("max(rate(basalt_postgres_temp_bytes_total[$__rate_interval]))", "")],
            ),
            Panel("Age of transaction ids", "short", [("max(basalt_postgres_transaction_id_age)", "")]),
            Panel("Lanes", "short", [("sum by (lanes) (basalt_lanes)", "{{lanes}}")]),
            Panel(
                "Requests on lanes",
                "short",
                [
                    ("sum by (lanes) (basalt_lane_requests_in_flight)", "{{lanes}}"),
                    ("sum by (lanes) (basalt_lane_requests_waiting)", "{{lanes}} waiting"),
                ],
            ),
            Panel(
                "Waits, refusals, losses of lanes",
                "ops",
                [
                    (rate("basalt_lane_waits_total", "lanes"), "{{lanes}} waited"),
                    (rate("basalt_lane_refusals_total", "lanes, reason"), "{{lanes}} {{reason}}"),
                    (rate("basalt_lanes_lost_total", "lanes"), "{{lanes}} lost"),
                ],
            ),
        ],
    ),
    "jobs-and-notifications": (
        "Basalt: jobs and notifications",
        [
            Panel(
                "Jobs in queues",
                "short",
                [("max by (queue, state) (basalt_queue_jobs)", "{{queue}} {{state}}")],
            ),
            Panel("Oldest job", "s", [("max by (queue) (basalt_queue_oldest_seconds)", "{{queue}}")]),
            Panel(
                "Attempts", "ops", [(rate("basalt_jobs_total", "queue, outcome"), "{{queue}} {{outcome}}")]
            ),
            Panel(
                "Time of an attempt, p95", "s", [(quantile(0.95, "basalt_job_seconds", "queue"), "{{queue}}")]
            ),
            Panel("Jobs running", "short", [("basalt_jobs_running", "{{instance}} {{process}}")]),
            Panel("Paused queues", "short", [("max by (queue) (basalt_queue_paused)", "{{queue}}")]),
            Panel("Runs of schedules", "ops", [(rate("basalt_cron_runs_total", "outcome"), "{{outcome}}")]),
            Panel("Failed runs in an hour", "short", [("max(basalt_cron_failures_last_hour)", "")]),
            Panel(
                "Outgoing requests",
                "ops",
                [(rate("basalt_outgoing_requests_total", "kind, outcome"), "{{kind}} {{outcome}}")],
            ),
            Panel(
                "Outgoing requests waiting",
                "short",
                [("max by (kind) (basalt_outgoing_waiting)", "{{kind}}")],
            ),
            Panel(
                "Webhooks given up",
                "short",
                [("sum(increase(basalt_webhooks_given_up_total[$__rate_interval]))", "")],
            ),
            Panel(
                "Notifications: attempts",
                "ops",
                [(rate("basalt_notify_deliveries_total", "provider, status"), "{{provider}} {{status}}")],
            ),
            Panel(
                "Notifications: expanded",
                "ops",
                [
                    (rate("basalt_notify_queued_total", "channel, status"), "{{channel}} {{status}}"),
                    (rate("basalt_notify_expanded_total", "status"), "events {{status}}"),
                ],
            ),
            Panel(
                "Notifications: oldest that is due",
                "s",
                [("max by (provider) (basalt_notify_oldest_due_seconds)", "{{provider}}")],
            ),
            Panel(
                "Notifications: lag, p95",
                "s",
                [(quantile(0.95, "basalt_notify_lag_seconds", "provider"), "{{provider}}")],
            ),
            Panel(
                "Providers: time to answer, p95",
                "s",
                [(quantile(0.95, "basalt_notify_delivery_seconds", "provider"), "{{provider}}")],
            ),
            Panel(
                "Notifications: in hand",
                "short",
                [("sum by (provider) (basalt_notify_in_hand)", "{{provider}}")],
            ),
            Panel(
                "Notifications: failed deliveries",
                "percentunit",
                [('max by (subject) (basalt_alert_value{rule="delivery_failure_rate"})', "{{subject}}")],
            ),
        ],
    ),
    "functions": (
        "Basalt: functions",
        [
            Panel(
                "Calls",
                "ops",
                [(rate("basalt_function_calls_total", "function, outcome"), "{{function}} {{outcome}}")],
            ),
            Panel(
                "Time to the answer, p95",
                "s",
                [(quantile(0.95, "basalt_function_call_seconds", "function"), "{{function}}")],
            ),
            Panel("Cold starts", "ops", [(rate("basalt_function_starts_total", "function"), "{{function}}")]),
            Panel(
                "Time of a start, p95",
                "s",
                [(quantile(0.95, "basalt_function_start_seconds", "function"), "{{function}}")],
            ),
            Panel("Processes", "short", [("sum by (function) (basalt_function_processes)", "{{function}}")]),
            Panel(
                "Calls in flight and waiting",
                "short",
                [
                    ("sum by (function) (basalt_function_calls_in_flight)", "{{function}}"),
                    ("sum by (function) (basalt_function_calls_waiting)", "{{function}} waiting"),
                ],
            ),
            Panel("Cache reads", "ops", [(rate("basalt_cache_reads_total", "result"), "{{result}}")]),
        ],
    ),
    "realtime": (
        "Basalt: realtime",
        [
            Panel("Sockets", "short", [("sum by (instance) (basalt_realtime_sockets)", "{{instance}}")]),
            Panel("Channels", "short", [("sum by (instance) (basalt_realtime_channels)", "{{instance}}")]),
            Panel(
                "Subscriptions to changes",
                "short",
                [("sum by (instance) (basalt_realtime_subscriptions)", "{{instance}}")],
            ),
            Panel("Topics with presence", "short", [("sum(basalt_realtime_presence_rooms)", "")]),
            Panel(
                "Messages delivered",
                "ops",
                [(rate("basalt_realtime_messages_delivered_total", "instance"), "{{instance}}")],
            ),
            Panel(
                "Changes",
                "ops",
                [
                    (rate("basalt_realtime_changes_total", "instance"), "{{instance}}"),
                    ("sum by (instance) (basalt_realtime_changes_waiting)", "{{instance}} waiting"),
                ],
            ),
            Panel(
                "Buffered", "bytes", [("sum by (instance) (basalt_realtime_buffered_bytes)", "{{instance}}")]
            ),
            Panel(
                "Change stream",
                "short",
                [("min by (instance) (basalt_realtime_stream_live)", "{{instance}}")],
            ),
            Panel(
                "Dropped on the bus",
                "ops",
                [(rate("basalt_realtime_bus_dropped_total", "instance"), "{{instance}}")],
            ),
        ],
    ),
}


def build_dashboard(name: str) -> dict[str, Any]:
    """As Grafana imports it (schema version 39)."""
    title, panels = DASHBOARDS[name]
    return {
        "uid": f"basalt-{name}",
        "title": title,
        "tags": ["basalt"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [{"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"}]
        },
        "annotations": {"list": []},
        "panels": list(_build_panels(panels)),
    }


def _build_panels(panels: Sequence[Panel]) -> Iterator[dict[str, Any]]:
    for number, panel in enumerate(panels):
        yield {
            "id": number + 1,
            "type": panel.kind,
            "title": panel.title,
            "datasource": SOURCE,
            "gridPos": {"h": HEIGHT, "w": WIDTH, "x": number % 2 * WIDTH, "y": number // 2 * HEIGHT},
            "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
            "options": {},
            "targets": [
                {"refId": chr(65 + place), "datasource": SOURCE, "expr": query, "legendFormat": legend}
                for place, (query, legend) in enumerate(panel.queries)
            ],
        }


def render_dashboard(name: str) -> str:
    return json.dumps(build_dashboard(name), indent=2) + "\n"


if __name__ == "__main__":
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard}.json").write_text(render_dashboard(dashboard), "utf-8")
