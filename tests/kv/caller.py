"""A process that asks a cache for values: `python -m tests.kv.caller FACTS`. It says "ready", waits for a line, says
"computing" at each computation, and at last the answers."""

import asyncio
import json
import sys
from typing import Any

import psycopg

from basalt.config import CacheSettings
from basalt.kv import open_cache


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


async def main(facts: dict[str, Any]) -> None:
    cache = await open_cache(
        CacheSettings(**facts["settings"]),
        conninfo=facts["conninfo"],
        project_id="shop",
        lease_s=facts["lease_s"],
    )
    admin = await psycopg.AsyncConnection.connect(facts["admin"], autocommit=True)

    async def compute() -> Any:
        say("computing")
        await admin.execute("insert into public.computations default values")
        await asyncio.sleep(facts["work_s"])
        return facts["answer"]

    say("ready")
    for number in range(facts["rounds"]):
        await asyncio.to_thread(sys.stdin.readline)
        key = facts["key"] if facts["rounds"] == 1 else f"{facts['key']}:{number}"
        asked = (cache.fetch_or_compute(key, compute, ttl_s=60) for _ in range(facts["callers"]))
        say({"answers": await asyncio.gather(*asked)})
    await admin.close()
    await cache.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
