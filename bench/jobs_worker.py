"""Basalt's side of `bench.jobs`: `python -m bench.jobs_worker ACCESS` performs jobs until SIGTERM, with the settings of
a new project, and then prints how long each job that told its time had waited."""

import asyncio
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from basalt import observe
from basalt.config import load_settings
from basalt.jobs import Handlers, Job, JobEngine
from basalt.postgres import DatabaseAccess


async def main(access: DatabaseAccess) -> None:
    observe.configure(process="worker", level="warning")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "supabase").mkdir()
        settings = load_settings(Path(folder), {})
    waits_ms: list[float] = []

    async def note(job: Job) -> None:
        if "at" in job.payload:
            waits_ms.append((time.time() - job.payload["at"]) * 1000)

    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    print("ready", flush=True)
    await JobEngine(settings, access, Handlers({"bench.note": note})).run(stopping)
    print(json.dumps(waits_ms), flush=True)


if __name__ == "__main__":
    uvloop.run(main(DatabaseAccess(**json.loads(sys.argv[1]))))
