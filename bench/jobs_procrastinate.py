"""Procrastinate's side of `bench.jobs`: `python -m bench.jobs_procrastinate CONNINFO COMMAND`. It is a peer, not a
dependency: `pip install procrastinate`.

`install`; `batch N` enqueues so many; `trickle N EVERY_S` one by one with their time; `work` performs them until
SIGTERM and then prints how long each that told its time had waited.
"""

import asyncio
import json
import sys
import time

import procrastinate

BATCH = 500
CONCURRENCY = 64

waits_ms: list[float] = []


async def main(conninfo: str, command: str, numbers: list[float]) -> None:
    connector = procrastinate.PsycopgConnector(conninfo=conninfo, min_size=4, max_size=16)
    app = procrastinate.App(connector=connector)

    @app.task(name="note")
    async def note(at: float | None = None) -> None:
        if at is not None:
            waits_ms.append((time.time() - at) * 1000)

    async with app.open_async():
        if command == "install":
            await app.schema_manager.apply_schema_async()
        elif command == "batch":
            for _ in range(int(numbers[0]) // BATCH):
                await note.batch_defer_async(*[{} for _ in range(BATCH)])
        elif command == "trickle":
            for _ in range(int(numbers[0])):
                await note.defer_async(at=time.time())
                await asyncio.sleep(numbers[1])
        else:
            print("ready", flush=True)
            await app.run_worker_async(concurrency=CONCURRENCY, delete_jobs="successful")
            print(json.dumps(waits_ms), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], [float(word) for word in sys.argv[3:]]))
