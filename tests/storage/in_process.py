"""Storage alone, in the test's process and over a database of its own: for settings that the shared server has not."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from basalt.access import Authoriser, ProjectKeys, load_project_keys
from basalt.config import load_settings
from basalt.gateway import Gateway
from basalt.gateway.limits import RequestLimits
from basalt.postgres import DatabaseAccess
from basalt.storage import build_storage
from tests.gateway.serving import serving


@dataclass(frozen=True)
class Storage:
    """`admin` is the service role; paths are relative to `/storage/v1`."""

    url: str
    keys: ProjectKeys
    folder: Path
    admin: httpx2.AsyncClient

    def files(self) -> list[Path]:
        """Everything that lies on disk."""
        return [file for file in (self.folder / ".basalt" / "storage").rglob("*") if file.is_file()]


@asynccontextmanager
async def storage(
    folder: Path, access: DatabaseAccess, environ: Mapping[str, str] | None = None, config: str = ""
) -> AsyncIterator[Storage]:
    """`environ` and `config` (TOML) are settings of the project in `folder`."""
    (folder / "supabase").mkdir(exist_ok=True)
    (folder / "supabase" / "config.toml").write_text(config)
    settings = load_settings(folder, environ or {})
    keys = load_project_keys(settings.state_dir, settings)
    authoriser = Authoriser(keys)
    gateway = Gateway(
        {"/storage/v1": build_storage(settings, access, authoriser, keys)},
        RequestLimits(settings.basalt.rate_limit, authoriser, trusts_header=False),
        base_url=settings.api_url,
        max_body_bytes=settings.basalt.max_body_bytes,
    )
    headers = {"authorization": f"Bearer {keys.service_role_key}"}
    async with (
        serving(gateway) as url,
        httpx2.AsyncClient(base_url=f"{url}/storage/v1", headers=headers, timeout=30) as admin,
    ):
        yield Storage(url, keys, folder, admin)
