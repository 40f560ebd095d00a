"""A worker's process for tests that kill it: `python -m tests.faults.jobs_worker ACCESS CONFIG`, an engine.

Its handlers note what they did in `public.effects`, in a transaction of their own.
"""

import asyncio
import json
import os
import signal
import sys

from psycopg_pool import AsyncConnectionPool

from basalt import observe
from basalt.jobs import Handlers, Job, JobEngine
from basalt.postgres import DatabaseAccess
from tests.jobs.engines import settings_with

NOTE = "insert into public.effects (job_id, attempt, pid) values (%s, %s, %s)"


async def main(access: DatabaseAccess, config: str) -> None:
    observe.configure(process="test-worker", log_format="json")
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with AsyncConnectionPool(access.conninfo("postgres"), min_size=2, max_size=4) as pool:

        async def work(job: Job) -> None:
            async with pool.connection() as connection:
                await connection.execute(NOTE, [job.id, job.attempt, os.getpid()])

        async def die_before(job: Job) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        async def die_after(job: Job) -> None:
            await work(job)
            if job.attempt == 1:
                os.kill(os.getpid(), signal.SIGKILL)

        async def hang(job: Job) -> None:
            await work(job)
            if job.attempt == 1:
                await asyncio.sleep(3600)

        own = {"t.work": work, "t.die_before": die_before, "t.die_after": die_after, "t.hang": hang}
        await JobEngine(settings_with(config), access, Handlers(own)).run(stopping)


if __name__ == "__main__":
    asyncio.run(main(DatabaseAccess(**json.loads(sys.argv[1])), sys.argv[2]))
