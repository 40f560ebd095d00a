"""Schedules: the contract of pg_cron, with time zones, over any number of workers.

`cron.job` holds schedules, and a trigger marks one that changed as not planned. A `CronScheduler` plans it (`ticks`:
the next instant, by the clock of the database), waits for that instant and claims it with one statement (`board`):
whoever moves `cron.ticks.next_tick` on makes the one run of this tick. A run waits in `cron.runs` until its
schedule's policy and a free place let a worker start it; then a connection of the schedule's own user (`logins`)
performs the command (`command`), and `cron.job_run_details` tells what became of it.

Every worker holds an advisory lock in its session; what is running under a lock that nobody holds has lost its worker
and is ended as failed by another one (`session`).
"""
