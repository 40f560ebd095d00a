"""A worker's process for tests that kill it: `python -m tests.faults.notify_worker ACCESS COURIER_URL CONFIG`, the
notification engine with a courier in place of every provider."""

import asyncio
import json
import signal
import sys

from basalt import observe
from basalt.jobs import Handlers, JobEngine
from basalt.notify import Dispatcher, NotifyJobs, Ways
from basalt.postgres import DatabaseAccess
from tests.jobs.engines import settings_with
from tests.notify.engine import Courierhouse


async def main(access: DatabaseAccess, url: str, config: str) -> None:
    observe.configure(process="test-worker", log_format="json")
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    settings, house = settings_with(config), Courierhouse(url)
    ways: Ways = {}
    jobs = NotifyJobs(settings, access, ways, build_senders=house.build)
    await jobs.open()
    engine = JobEngine(settings, access, Handlers(own=jobs.handlers))
    dispatcher = Dispatcher(settings, access, ways, build_senders=house.build)
    await asyncio.gather(engine.run(stopping), dispatcher.run(stopping))
    await jobs.close()


if __name__ == "__main__":
    asyncio.run(main(DatabaseAccess(**json.loads(sys.argv[1])), sys.argv[2], sys.argv[3]))
