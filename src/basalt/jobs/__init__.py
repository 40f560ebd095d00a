"""The engine room: what must happen later, again, or exactly once in effect.

A job is a row (`basalt.jobs`) that names its handler: one of Basalt's own (`basalt.mail`), or a function of the
project. Anyone enqueues: SQL by `basalt.enqueue(…)`, Python by `JobQueue`. In the worker the `JobEngine` claims in
batches, runs and settles; the `CronScheduler` (`cron/`) turns ticks into runs; the `RequestSender` (`outgoing/`)
sends what `net.http_…` and database webhooks asked for. Each of the three is a `Part`: it runs until told to stop,
and any number of workers may run it at once.
"""

import importlib
from typing import TYPE_CHECKING

from basalt.jobs.errors import JobError, QueueFullError
from basalt.jobs.job import DiscardJob, Handler, Handlers, Job, RetryJob
from basalt.jobs.part import Part

if TYPE_CHECKING:
    from basalt.jobs.cron.configured import ensure_configured_schedules
    from basalt.jobs.cron.overview import (
        RunRow,
        ScheduleRow,
        list_runs,
        list_schedules,
        run_schedule,
        set_active,
    )
    from basalt.jobs.cron.scheduler import CronScheduler
    from basalt.jobs.cron.ticks import find_next_tick
    from basalt.jobs.database import BY_INDEX, JobsDatabase, Pauses, array, is_transient
    from basalt.jobs.engine import JobEngine
    from basalt.jobs.figures import JOB_READINGS
    from basalt.jobs.inspection import (
        JobState,
        list_minutes,
        list_queues,
        pause_queue,
        peek_jobs,
        purge_queue,
        replay_dead,
    )
    from basalt.jobs.job_queue import JobQueue, NewJob
    from basalt.jobs.messages import MessageJobs
    from basalt.jobs.outgoing.sender import RequestSender
    from basalt.jobs.tracking import TrackJobs

__all__ = [
    "BY_INDEX",
    "JOB_READINGS",
    "CronScheduler",
    "DiscardJob",
    "Handler",
    "Handlers",
    "Job",
    "JobEngine",
    "JobError",
    "JobQueue",
    "JobState",
    "JobsDatabase",
    "MessageJobs",
    "NewJob",
    "Part",
    "Pauses",
    "QueueFullError",
    "RequestSender",
    "RetryJob",
    "RunRow",
    "ScheduleRow",
    "TrackJobs",
    "array",
    "ensure_configured_schedules",
    "ensure_function_schedules",
    "find_next_tick",
    "is_transient",
    "list_minutes",
    "list_queues",
    "list_runs",
    "list_schedules",
    "pause_queue",
    "peek_jobs",
    "purge_queue",
    "replay_dead",
    "run_schedule",
    "set_active",
]

_MODULES = {
    "ensure_configured_schedules": "basalt.jobs.cron.configured",
    "RunRow": "basalt.jobs.cron.overview",
    "ScheduleRow": "basalt.jobs.cron.overview",
    "list_runs": "basalt.jobs.cron.overview",
    "list_schedules": "basalt.jobs.cron.overview",
    "run_schedule": "basalt.jobs.cron.overview",
    "set_active": "basalt.jobs.cron.overview",
    "CronScheduler": "basalt.jobs.cron.scheduler",
    "BY_INDEX": "basalt.jobs.database",
    "JobsDatabase": "basalt.jobs.database",
    "Pauses": "basalt.jobs.database",
    "array": "basalt.jobs.database",
    "is_transient": "basalt.jobs.database",
    "JOB_READINGS": "basalt.jobs.figures",
    "find_next_tick": "basalt.jobs.cron.ticks",
    "JobEngine": "basalt.jobs.engine",
    "JobState": "basalt.jobs.inspection",
    "list_minutes": "basalt.jobs.inspection",
    "list_queues": "basalt.jobs.inspection",
    "pause_queue": "basalt.jobs.inspection",
    "peek_jobs": "basalt.jobs.inspection",
    "purge_queue": "basalt.jobs.inspection",
    "replay_dead": "basalt.jobs.inspection",
    "JobQueue": "basalt.jobs.job_queue",
    "NewJob": "basalt.jobs.job_queue",
    "MessageJobs": "basalt.jobs.messages",
    "RequestSender": "basalt.jobs.outgoing.sender",
    "TrackJobs": "basalt.jobs.tracking",
}


def __getattr__(name: str) -> object:
    # A function that performs jobs needs to know what a job is, and nothing of the worker.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
