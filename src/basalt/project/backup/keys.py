"""What a project is besides its database and objects: keys, without which sealed secrets and sessions are lost, and the
files of `supabase/` as they were."""

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from basalt.config import Settings
from basalt.postgres import cluster_home

STATE_FILES: Final = ("keys.json", "secrets.key")
VAULT_KEY: Final = "vault.key"
PASSWORDS: Final = "database.json"
LEFT_OUT: Final = frozenset({"node_modules", ".git", "__pycache__", ".temp", ".branches", ".venv"})
MAX_FILE_BYTES: Final = 16 * 1024 * 1024


def pack_keys(settings: Settings) -> bytes:
    """A tar: `state/…` is `.basalt/`, `cluster/…` the folder of the cluster, `project/…` the project's."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in _files(settings):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o600
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def unpack_keys(data: bytes) -> dict[str, bytes]:
    """The files by their names in the tar."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            member.name: content.read()
            for member in archive
            if member.isfile() and (content := archive.extractfile(member)) is not None
        }


def _files(settings: Settings) -> Iterator[tuple[str, bytes]]:
    state_dir = settings.state_dir
    for name in STATE_FILES:
        if (state_dir / name).is_file():
            yield f"state/{name}", (state_dir / name).read_bytes()
    if (state_dir / PASSWORDS).is_file():
        passwords = json.loads((state_dir / PASSWORDS).read_text("utf-8")).get("passwords", {})
        yield f"state/{PASSWORDS}", json.dumps({"passwords": passwords}).encode()
    vault_key = cluster_home(state_dir) / VAULT_KEY
    if vault_key.is_file():
        yield f"cluster/{VAULT_KEY}", vault_key.read_bytes()
    for path in _project_files(settings):
        yield f"project/{path.relative_to(settings.project_dir)}", path.read_bytes()


def _project_files(settings: Settings) -> Iterator[Path]:
    for name in (".env", ".env.local"):
        if (settings.project_dir / name).is_file():
            yield settings.project_dir / name
    for folder, names, files in os.walk(settings.supabase_dir):
        names[:] = sorted(name for name in names if name not in LEFT_OUT)
        for name in sorted(files):
            path = Path(folder, name)
            if path.is_file() and path.stat().st_size <= MAX_FILE_BYTES:
                yield path
