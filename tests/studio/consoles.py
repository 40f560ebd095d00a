"""The console alone, in the test's process and over a database of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from basalt.access import Authoriser, ProjectKeys, load_project_keys
from basalt.gateway import Gateway
from basalt.gateway.limits import RequestLimits
from basalt.postgres import DatabaseAccess, Pool, open_pool
from basalt.senders import InboxDeliverySender
from basalt.studio import StudioService
from tests.gateway.serving import serving
from tests.projects import settings_of, write_project


@dataclass(frozen=True)
class Console:
    """`browser` asks as a browser on the machine itself does."""

    url: str
    keys: ProjectKeys
    browser: httpx2.AsyncClient
    inbox: InboxDeliverySender
    pool: Pool


@asynccontextmanager
async def running_console(folder: Path, access: DatabaseAccess, config: str = "") -> AsyncIterator[Console]:
    settings = settings_of(write_project(folder, {"config.toml": f'project_id = "habits"\n{config}'}))
    keys = load_project_keys(settings.state_dir, settings)
    authoriser = Authoriser(keys)
    gateway = Gateway(
        {"/studio": StudioService(settings, authoriser, access)},
        RequestLimits(settings.basalt.rate_limit, authoriser, trusts_header=False),
        base_url=settings.api_url,
        max_body_bytes=settings.basalt.max_body_bytes,
    )
    async with (
        serving(gateway) as url,
        httpx2.AsyncClient(base_url=f"{url}/studio", timeout=30) as browser,
        open_pool(access.conninfo("postgres"), max_size=2, name="test") as pool,
    ):
        yield Console(url, keys, browser, InboxDeliverySender(pool), pool)
