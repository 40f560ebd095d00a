"""Jobs that wait or died, schedules that fail, webhooks that were given up, notifications that do not leave."""

from collections.abc import Sequence
from typing import Final, LiteralString

from basalt.postgres import SqlCheck

QUEUE_AGE: Final[LiteralString] = """
select s.queue as subject,
    case when s.is_paused then format('is paused, and %%s jobs wait', s.ready)
        else format('has %%s jobs ready, the oldest for %%s', s.ready,
            date_trunc('second', make_interval(secs => s.oldest_ready_age_s))) end as what,
    case when s.is_paused then format('basalt queue resume %%s', s.queue)
        else 'basalt queue list  -- does a worker run, and with what? Then basalt.worker.concurrency' end as remedy,
    case when s.oldest_ready_age_s > 3600 and not s.is_paused then 'error' else 'warning' end as severity
from basalt.queue_stats() as s
where s.ready > 0 and (s.is_paused or s.oldest_ready_age_s > 300)
order by 1
"""

QUEUE_DEPTH: Final[LiteralString] = """
select s.queue as subject, format('holds %%s waiting jobs of %%s at most', s.ready + s.scheduled, q.max_depth) as what,
    format('[basalt.queues.%%s] max_depth, or more workers', s.queue) as remedy,
    case when s.ready + s.scheduled >= q.max_depth then 'error' else 'warning' end as severity
from basalt.queue_stats() as s join basalt.queues as q on q.name = s.queue
where q.max_depth > 0 and s.ready + s.scheduled > 0.8 * q.max_depth
order by 1
"""

LOST_JOBS: Final[LiteralString] = """
select j.queue as subject, format('has %%s jobs whose worker fell silent, the first %%s ago', count(*),
        date_trunc('second', now() - min(j.lease_until))) as what,
    'basalt status, or start a worker: `basalt worker DIR`' as remedy
from basalt.jobs as j
where j.state = 'running' and j.lease_until < now() - interval '2 minutes'
group by j.queue
order by 1
"""

DEAD_LETTERS: Final[LiteralString] = """
select d.queue || ': ' || d.name as subject,
    format('has %%s dead letters, the last %%s ago: %%s', count(*), date_trunc('second', now() - max(d.died_at)),
        left((array_agg(d.reason order by d.died_at desc))[1], 120)) as what,
    format('basalt queue peek %%s --state dead; basalt queue replay %%s --name %%s', d.queue, d.queue, d.name) as remedy
from basalt.dead_jobs as d
group by d.queue, d.name
order by max(d.died_at) desc
limit 20
"""

CRON_FAILURES: Final[LiteralString] = """
select coalesce(j.jobname, j.jobid::text) as subject,
    format('failed at %%s: %%s', to_char(last.start_time at time zone 'utc', 'YYYY-MM-DD HH24:MI"Z"'),
        left(last.return_message, 120)) as what,
    format('basalt cron history %%s; basalt cron run %%s', coalesce(j.jobname, j.jobid::text),
        coalesce(j.jobname, j.jobid::text)) as remedy
from cron.job as j
cross join lateral (
    select d.status, d.start_time, d.return_message from cron.job_run_details as d
    where d.jobid = j.jobid and d.status in ('succeeded', 'failed') order by d.runid desc limit 1) as last
where j.active and last.status = 'failed'
order by 1
"""

CRON_LATE: Final[LiteralString] = """
select coalesce(j.jobname, j.jobid::text) as subject,
    format('was due at %%s and has not run', to_char(t.next_tick at time zone 'utc', 'YYYY-MM-DD HH24:MI"Z"')) as what,
    'start a worker (`basalt.worker.mode`, `basalt worker DIR`), and see that basalt.cron.enabled is true' as remedy
from cron.job as j join cron.ticks as t using (jobid)
where j.active and t.next_tick < now() - interval '5 minutes'
order by 1
"""

WEBHOOKS_GIVEN_UP: Final[LiteralString] = """
select d.hook_name || ' on ' || d.table_name as subject,
    format('was given up %%s times, last %%s ago: %%s', count(*), date_trunc('second', now() - max(d.died_at)),
        left((array_agg(d.reason order by d.died_at desc))[1], 120)) as what,
    'select basalt.retry_webhook(id) from basalt.dead_webhooks where …;' as remedy
from basalt.dead_webhooks as d
group by d.hook_name, d.table_name
order by max(d.died_at) desc
limit 20
"""

WEBHOOKS_WAIT: Final[LiteralString] = """
select 'webhooks' as subject,
    format('%%s are due, the oldest for %%s', count(*), date_trunc('second', now() - min(w.run_at))) as what,
    'basalt status, or start a worker: `basalt worker DIR`' as remedy
from basalt.webhook_requests as w
where w.run_at < now() - interval '5 minutes'
having count(*) > 0
"""

NOTIFICATIONS_WAIT: Final[LiteralString] = """
select q.channel as subject,
    format('has %%s notifications that are due, the oldest for %%s', count(*),
        date_trunc('second', now() - min(q.scheduled_for))) as what,
    'select * from public.notification_deliveries order by id desc limit 50;  -- what the providers say' as remedy
from public.notification_queue as q
where q.status = 'pending' and q.scheduled_for < now() - interval '5 minutes'
group by q.channel
order by 1
"""

EVENTS_FAILED: Final[LiteralString] = """
select e.event_type as subject,
    format('%%s events failed within a day: %%s', count(*), left(min(e.error::text), 120)) as what,
    'select id, error from public.notification_events where status = ''failed'' order by triggered_at desc;' as remedy
from public.notification_events as e
where e.status = 'failed' and e.triggered_at > now() - interval '1 day'
group by e.event_type
order by 1
"""

ENGINE_CHECKS: Final[Sequence[SqlCheck]] = (
    SqlCheck(
        name="queue_age",
        group="jobs",
        severity="warning",
        title="Jobs that wait",
        why="What was promised for later does not happen: mails, notifications, exports.",
        statement=QUEUE_AGE,
        needs=["basalt.jobs"],
    ),
    SqlCheck(
        name="queue_depth",
        group="jobs",
        severity="warning",
        title="Queues that are nearly full",
        why="Beyond the limit new jobs are refused with 429.",
        statement=QUEUE_DEPTH,
        needs=["basalt.jobs"],
    ),
    SqlCheck(
        name="jobs_lost",
        group="jobs",
        severity="error",
        title="Jobs whose worker fell silent",
        why="Another worker would have taken them over: none is at work.",
        statement=LOST_JOBS,
        needs=["basalt.jobs"],
    ),
    SqlCheck(
        name="dead_letters",
        group="jobs",
        severity="warning",
        title="Dead letters",
        why="These jobs failed for good; nothing happens with them until somebody looks.",
        statement=DEAD_LETTERS,
        needs=["basalt.dead_jobs"],
    ),
    SqlCheck(
        name="cron_failures",
        group="cron",
        severity="warning",
        title="Schedules whose last run failed",
        why="What the schedule is for did not happen.",
        statement=CRON_FAILURES,
        needs=["cron.job", "cron.job_run_details"],
    ),
    SqlCheck(
        name="cron_late",
        group="cron",
        severity="error",
        title="Schedules that are due and do not run",
        why="No worker runs schedules.",
        statement=CRON_LATE,
        needs=["cron.job", "cron.ticks"],
    ),
    SqlCheck(
        name="webhooks_given_up",
        group="webhooks",
        severity="warning",
        title="Webhooks that were given up",
        why="The receiver never heard of these changes.",
        statement=WEBHOOKS_GIVEN_UP,
        needs=["basalt.dead_webhooks"],
    ),
    SqlCheck(
        name="webhooks_late",
        group="webhooks",
        severity="warning",
        title="Webhooks that wait",
        why="No worker sends them, or the receiver is slow.",
        statement=WEBHOOKS_WAIT,
        needs=["basalt.webhook_requests"],
    ),
    SqlCheck(
        name="notifications_late",
        group="notifications",
        severity="warning",
        title="Notifications that wait",
        why="People learn too late of what concerns them.",
        statement=NOTIFICATIONS_WAIT,
        needs=["public.notification_queue"],
    ),
    SqlCheck(
        name="notification_events_failed",
        group="notifications",
        severity="warning",
        title="Events that told nobody",
        why="A template or an audience is wrong, and nobody was told.",
        statement=EVENTS_FAILED,
        needs=["public.notification_events"],
    ),
)
