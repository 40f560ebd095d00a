"""What the tables of jobs, schedules and outgoing requests tell: the same from every node."""

from basalt.postgres import Figure, Reading

JOB_READINGS: tuple[Reading, ...] = (
    Reading(
        """
        select s.queue, c.state, c.count::float8
        from basalt.queue_stats() as s, lateral (values
            ('ready', s.ready), ('scheduled', s.scheduled), ('running', s.running), ('dead', s.dead)) as c(state, count)
        """,
        (Figure("basalt_queue_jobs", "Jobs by state."),),
        labels=("queue", "state"),
    ),
    Reading(
        """
        select q.name, coalesce(extract(epoch from now() - (
                select min(j.run_at) from basalt.jobs as j where j.queue = q.name and j.state = 'ready')), 0)::float8,
            q.is_paused::int::float8
        from basalt.queues as q
        """,
        (
            Figure("basalt_queue_oldest_seconds", "For how long the job that is due the longest has waited."),
            Figure("basalt_queue_paused", "1 while the queue is paused."),
        ),
        labels=("queue",),
    ),
    Reading(
        """
        select q.name, c.outcome, c.count::float8
        from basalt.queues as q
        left join basalt.job_counts as m
            on m.queue = q.name and m.minute = date_trunc('minute', now()) - interval '1 minute',
        lateral (values
            ('finished', coalesce(m.finished, 0)), ('retried', coalesce(m.retried, 0)), ('dead', coalesce(m.dead, 0)))
            as c(outcome, count)
        """,
        (Figure("basalt_queue_minute_jobs", "Attempts that ended in the last full minute, on all workers."),),
        labels=("queue", "outcome"),
    ),
    Reading(
        "select 'webhook', count(*)::float8 from basalt.webhook_requests",
        (Figure("basalt_outgoing_waiting", "Requests and webhooks that wait."),),
        labels=("kind",),
    ),
    Reading(
        "select 'request', count(*)::float8 from net.http_request_queue",
        (Figure("basalt_outgoing_waiting", "Requests and webhooks that wait."),),
        labels=("kind",),
        needs="net.http_request_queue",
    ),
    Reading(
        "select count(*)::float8 from basalt.dead_webhooks",
        (Figure("basalt_outgoing_dead_webhooks", "Webhooks that were given up and are kept."),),
    ),
    Reading(
        """
        select count(*)::float8 from cron.job_run_details as d
        where d.status = 'failed' and d.start_time > now() - interval '1 hour'
        """,
        (Figure("basalt_cron_failures_last_hour", "Failed runs of schedules in the last hour."),),
        needs="cron.job_run_details",
    ),
)
