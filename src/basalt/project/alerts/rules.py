"""What is watched. A new alert is one line here, one in `AlertRulesSettings`, and one in `docs/how-to/alerts.md`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, LiteralString

from basalt.config import AlertRuleSettings, AlertSettings

Kind = Literal["critical", "warning"]

# Two rules of one statement, which reads every job that waits.
QUEUES: Final[LiteralString] = """
select s.queue as subject, s.ready::float8 as ready, case when not s.is_paused then s.oldest_ready_age_s end as age_s
from basalt.queue_stats() as s where s.ready > 0
"""
DEAD_LETTERS: Final[LiteralString] = """
select c.queue as subject, sum(c.dead)::float8 as value
from basalt.job_counts as c where c.minute > now() - interval '15 minutes' group by c.queue having sum(c.dead) > 0
"""
# Of fewer attempts a share says nothing.
JOB_FAILURES: Final[LiteralString] = """
select c.queue as subject, sum(c.retried + c.dead)::float8 / sum(c.finished + c.retried + c.dead) as value
from basalt.job_counts as c where c.minute > now() - interval '15 minutes'
group by c.queue having sum(c.finished + c.retried + c.dead) >= 20
"""
CRON_FAILURES: Final[LiteralString] = """
select coalesce(j.jobname, d.jobid::text) as subject, count(*)::float8 as value
from cron.job_run_details as d left join cron.job as j using (jobid)
where d.end_time > now() - interval '1 hour' and d.status = 'failed' group by 1
"""
WEBHOOKS: Final[LiteralString] = """
select '' as subject, count(*)::float8 as value
from basalt.dead_webhooks as d where d.died_at > now() - interval '1 hour'
"""
NOTIFICATIONS: Final[LiteralString] = """
select q.channel as subject, extract(epoch from now() - min(q.scheduled_for))::float8 as value
from public.notification_queue as q where q.status = 'pending' and q.scheduled_for <= now() group by q.channel
"""
# The newest attempts, by their key: the table may hold millions.
DELIVERIES: Final[LiteralString] = """
select coalesce(q.channel, '') || ' ' || d.provider as subject,
    count(*) filter (where d.status in ('failed', 'bounced', 'retrying', 'unknown'))::float8 / count(*) as value
from (select * from public.notification_deliveries order by id desc limit 20000) as d
left join public.notification_queue as q on q.id = d.queue_id
where d.created_at > now() - interval '15 minutes'
group by 1 having count(*) >= 20
"""
# Of others' sessions a role outside pg_monitor is shown the name and nothing else.
CONNECTIONS: Final[LiteralString] = """
select '' as subject, count(*)::float8
    / (current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int) as value
from pg_catalog.pg_stat_activity
where coalesce(backend_type, 'client backend') = 'client backend' and datid is not null
"""
SLOTS: Final[LiteralString] = """
select s.slot_name::text as subject, pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::float8 as value
from pg_catalog.pg_replication_slots as s where s.restart_lsn is not null and not pg_is_in_recovery()
"""
# Nothing where nobody has ever tried to make one.
BACKUPS: Final[LiteralString] = """
select '' as subject,
    extract(epoch from now() - coalesce(max(b.ended_at) filter (where b.state = 'complete'), min(b.started_at)))::float8
        as value
from basalt.backups as b where b.kind in ('physical', 'logical')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`statement` gives in `column` a value for each subject, and `needs` the relations that it reads; a rule without
    one is measured by the worker itself. `expression` is the value in PromQL, where Prometheus has it from a metric of
    its own; where it has not, it is what the worker measured. To `increase()` the first failure of all, with which a
    counter's series begins, is none: a rule that one is enough for adds up the database's minutes. `summary` names
    `{subject}`, `{value}`, `{threshold}`."""

    name: str
    severity: Kind
    threshold: float
    for_s: float
    unit: Literal["s", "share", "bytes", "count"]
    summary: str
    runbook: str
    statement: LiteralString | None = None
    column: str = "value"
    needs: Sequence[str] = ()
    is_low_wrong: bool = False
    expression: str = ""

    def is_wrong(self, value: float, threshold: float) -> bool:
        return value < threshold if self.is_low_wrong else value > threshold

    def configured(self, settings: AlertSettings) -> tuple[float, float]:
        """Threshold and duration in seconds, as the project has them."""
        own: AlertRuleSettings = getattr(settings.rules, self.name)
        return (
            self.threshold if own.threshold is None else own.threshold,
            self.for_s if own.for_s is None else own.for_s,
        )

    def is_enabled(self, settings: AlertSettings) -> bool:
        own: AlertRuleSettings = getattr(settings.rules, self.name)
        return own.enabled

    def prometheus_expression(self) -> str:
        return self.expression or f'max by (subject) (basalt_alert_value{{rule="{self.name}"}})'


LATENCY = (
    "histogram_quantile({quantile}, sum by (service, le) (rate(basalt_http_request_seconds_bucket"
    '{{service!="realtime"}}[5m]))) and sum by (service) (rate(basalt_http_request_seconds_count[5m])) > 0.2'
)

RULES: Final[Sequence[Rule]] = (
    Rule(
        name="queue_age",
        severity="critical",
        threshold=300,
        for_s=60,
        unit="s",
        summary="Queue {subject}: the oldest job that is ready has waited {value} (limit {threshold})",
        runbook="a-queue-is-stuck",
        statement=QUEUES,
        column="age_s",
        needs=["basalt.jobs"],
        expression="max by (queue) (basalt_queue_oldest_seconds unless on (queue) basalt_queue_paused == 1)",
    ),
    Rule(
        name="queue_backlog",
        severity="warning",
        threshold=10_000,
        for_s=300,
        unit="count",
        summary="Queue {subject}: {value} jobs are ready (limit {threshold})",
        runbook="a-queue-is-stuck",
        statement=QUEUES,
        column="ready",
        needs=["basalt.jobs"],
        expression='max by (queue) (basalt_queue_jobs{state="ready"})',
    ),
    Rule(
        name="dead_letters",
        severity="warning",
        threshold=0,
        for_s=0,
        unit="count",
        summary="Queue {subject}: {value} jobs died within 15 minutes",
        runbook="dead-letters",
        statement=DEAD_LETTERS,
        needs=["basalt.job_counts"],
        expression='sum by (queue) (sum_over_time(max by (queue) (basalt_queue_minute_jobs{outcome="dead"})[15m:1m]))',
    ),
    Rule(
        name="job_failure_rate",
        severity="warning",
        threshold=0.2,
        for_s=300,
        unit="share",
        summary="Queue {subject}: {value} of the attempts of 15 minutes failed (limit {threshold})",
        runbook="dead-letters",
        statement=JOB_FAILURES,
        needs=["basalt.job_counts"],
        expression="sum by (queue) (sum_over_time(max by (queue, outcome)"
        ' (basalt_queue_minute_jobs{outcome=~"retried|dead"})[15m:1m]))'
        " / (sum by (queue) (sum_over_time(max by (queue, outcome) (basalt_queue_minute_jobs)[15m:1m])) >= 20)",
    ),
    Rule(
        name="cron_failures",
        severity="warning",
        threshold=0,
        for_s=0,
        unit="count",
        summary="Schedules {subject}: {value} runs failed within an hour",
        runbook="a-schedule-fails",
        statement=CRON_FAILURES,
        needs=["cron.job", "cron.job_run_details"],
        expression="max(basalt_cron_failures_last_hour)",
    ),
    Rule(
        name="webhooks_given_up",
        severity="warning",
        threshold=0,
        for_s=0,
        unit="count",
        summary="{value} webhooks were given up within an hour",
        runbook="webhooks-were-given-up",
        statement=WEBHOOKS,
        needs=["basalt.dead_webhooks"],
        expression="sum(increase(basalt_webhooks_given_up_total[1h]))",
    ),
    Rule(
        name="notification_backlog",
        severity="critical",
        threshold=600,
        for_s=120,
        unit="s",
        summary="Channel {subject}: the oldest notification that is due has waited {value} (limit {threshold})",
        runbook="notifications-do-not-arrive",
        statement=NOTIFICATIONS,
        needs=["public.notification_queue"],
        expression="max by (provider) (basalt_notify_oldest_due_seconds)",
    ),
    Rule(
        name="delivery_failure_rate",
        severity="critical",
        threshold=0.1,
        for_s=300,
        unit="share",
        summary="Deliveries by {subject}: {value} of 15 minutes failed (limit {threshold})",
        runbook="notifications-do-not-arrive",
        statement=DELIVERIES,
        needs=["public.notification_deliveries", "public.notification_queue"],
        expression="sum by (provider) (increase(basalt_notify_deliveries_total"
        '{status=~"failed|retrying|unknown"}[15m]))'
        " / (sum by (provider) (increase(basalt_notify_deliveries_total[15m])) >= 20)",
    ),
    Rule(
        name="database_connections",
        severity="critical",
        threshold=0.85,
        for_s=60,
        unit="share",
        summary="PostgreSQL: {value} of its connections are in use (limit {threshold})",
        runbook="connections-run-out",
        statement=CONNECTIONS,
        expression="max(sum by (instance) (basalt_postgres_connections)) / max(basalt_postgres_max_connections)",
    ),
    Rule(
        name="replication_lag",
        severity="critical",
        threshold=2 * 1024**3,
        for_s=60,
        unit="bytes",
        summary="Replication slot {subject} keeps {value} of write-ahead log (limit {threshold})",
        runbook="a-slot-fills-the-disk",
        statement=SLOTS,
        expression="max(basalt_postgres_slot_kept_bytes)",
    ),
    Rule(
        name="disk_free",
        severity="critical",
        threshold=0.1,
        for_s=60,
        unit="share",
        summary="{subject}: {value} of the disk is free (limit {threshold})",
        runbook="the-disk-is-full",
        is_low_wrong=True,
    ),
    Rule(
        name="backup_age",
        severity="critical",
        threshold=36 * 3600,
        for_s=0,
        unit="s",
        summary="The newest backup is {value} old (limit {threshold})",
        runbook="backups-are-not-made",
        statement=BACKUPS,
        needs=["basalt.backups"],
    ),
    Rule(
        name="request_latency_p95",
        severity="warning",
        threshold=1.0,
        for_s=300,
        unit="s",
        summary="{subject}: one request in twenty took longer than {value} (limit {threshold})",
        runbook="requests-are-slow",
        expression=LATENCY.format(quantile=0.95),
    ),
    Rule(
        name="request_latency_p99",
        severity="critical",
        threshold=3.0,
        for_s=300,
        unit="s",
        summary="{subject}: one request in a hundred took longer than {value} (limit {threshold})",
        runbook="requests-are-slow",
        expression=LATENCY.format(quantile=0.99),
    ),
    Rule(
        name="request_error_rate",
        severity="critical",
        threshold=0.05,
        for_s=120,
        unit="share",
        summary="{subject}: {value} of the requests were answered with 5xx (limit {threshold})",
        runbook="requests-fail",
        expression='sum by (service) (rate(basalt_http_requests_total{status="5xx"}[5m]))'
        " / (sum by (service) (rate(basalt_http_requests_total[5m])) > 0.2)",
    ),
)
