"""Settings of the engine room: the worker, queues, schedules, outgoing requests, the cache, idempotency keys."""

from dataclasses import dataclass
from typing import Literal

from basalt.config.setting import setting


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    mode: Literal["process", "gateway", "off"] = setting(
        "process",
        "Where jobs, schedules and outgoing requests run: in their own process, in the gateway, or not on this node.",
    )
    concurrency: int = setting(64, "Jobs that a worker runs at once.", low=1, high=10_000)
    lease_s: float = setting(
        60.0, "Time after which a job whose worker fell silent is given to another one.", low=1, high=3600
    )
    poll_interval_s: float = setting(
        1.0, "Pause between looks at the queues when no notification comes.", low=0.05, high=60
    )
    drain_timeout_s: float = setting(20.0, "Time for running jobs to end at a stop.", low=0, high=3600)
    connections: int = setting(4, "Database connections of a worker's jobs.", low=1, high=100)
    host: str = setting("127.0.0.1", "Address that the worker's own port listens on.")
    port: int = setting(0, "Port on which the worker serves functions itself; 0 is none.", low=0, high=65535)


@dataclass(frozen=True, kw_only=True)
class QueueSettings:
    """A queue of jobs by its name; `default` is the one of jobs that name none."""

    concurrency: int = setting(
        0, "Jobs of this queue that run at once on all workers together; 0 is no limit.", low=0
    )
    rate_per_s: float = setting(
        0.0, "Jobs of this queue that start in a second on all workers together; 0 is no limit.", low=0
    )
    max_depth: int = setting(
        1_000_000, "Waiting jobs beyond which new ones are refused with 429; 0 is no limit.", low=0
    )
    max_attempts: int = setting(10, "Attempts before a job becomes a dead letter.", low=1, high=1000)
    first_delay_s: float = setting(
        1.0, "Pause before the second attempt; it doubles with each further one.", low=0
    )
    longest_delay_s: float = setting(3600.0, "Longest pause between two attempts.", low=0)
    timeout_s: float = setting(300.0, "Longest time that one attempt may take.", low=0.05, high=86400)
    keep_finished_s: float = setting(0.0, "Time for which finished jobs can be looked up.", low=0)
    keep_dead_s: float = setting(14 * 86400.0, "Time for which dead letters are kept; 0 is for ever.", low=0)


@dataclass(frozen=True, kw_only=True)
class CronSettings:
    enabled: bool = setting(True, "Run schedules.")
    keep_runs_s: float = setting(
        7 * 86400.0, "Time for which the history of runs is kept; 0 is for ever.", low=0
    )
    max_running: int = setting(16, "Runs of schedules at once on one worker.", low=1, high=1000)


@dataclass(frozen=True, kw_only=True)
class WebhookSettings:
    allow_private: bool = setting(
        False,
        "Let `net.http_…` and database webhooks reach private and loopback addresses, not only the API's own.",
    )
    concurrency: int = setting(64, "Outgoing requests of a worker at once.", low=1, high=1000)
    max_attempts: int = setting(
        8,
        "Attempts of a database webhook whose receiver does not answer or answers with 5xx or 429.",
        low=1,
        high=100,
    )
    first_delay_s: float = setting(
        10.0, "Pause before a webhook's second attempt; it doubles with each further one.", low=0.05
    )
    longest_delay_s: float = setting(3600.0, "Longest pause between two attempts.", low=0.05)
    max_waiting: int = setting(
        1_000_000,
        "Waiting requests beyond which `net.http_…` is refused and webhooks are left out; 0 is no limit.",
        low=0,
    )
    max_response_bytes: int = setting(1024 * 1024, "Largest answer that is kept.", low=1024)
    keep_responses_s: float = setting(6 * 3600.0, "Time for which answers are kept.", low=1)


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    engine: Literal["postgres", "redis"] = setting("postgres", "Where cached values are kept.")
    url: str | None = setting(
        None, "Server of the cache, such as `redis://:password@host:6379/0`.", is_secret=True
    )
    purge_interval_s: float = setting(
        300.0, "Pause between removals of expired values and idempotency keys.", low=1
    )
    max_value_bytes: int = setting(10 * 1024 * 1024, "Largest cached value as JSON.", low=1)


@dataclass(frozen=True, kw_only=True)
class IdempotencySettings:
    enabled: bool = setting(
        True, "Replay the first answer to a write that comes again with its `Idempotency-Key`."
    )
    keep_s: float = setting(86400.0, "Time for which answers are kept.", low=1)
    wait_s: float = setting(
        10.0, "Longest wait of a repeated request for the first one's answer, before 409.", low=0, high=300
    )
    max_answer_bytes: int = setting(1024 * 1024, "Largest answer that is kept.", low=1024)
