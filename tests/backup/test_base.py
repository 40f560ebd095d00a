"""The copy of a cluster passes through: whatever size its files have, little of it is in memory."""

import io
import json
import tarfile
from typing import IO

import pytest

from basalt.postgres.backup.base import READ_BYTES, BaseBackupError, BaseCopy, BaseRange

pytestmark = pytest.mark.req("P26")

MANIFEST = {"WAL-Ranges": [{"Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100"}]}


def pack(*members: tuple[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return whole.getvalue()


class Pipe(io.BytesIO):
    """Knows how much was taken from it."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_bytes_go_on_before_the_file_that_they_belong_to_has_ended() -> None:
    tar = pack(
        ("base/1/16384", bytes(8 * READ_BYTES + 1)), ("backup_manifest", json.dumps(MANIFEST).encode())
    )
    pipe = Pipe(tar)
    copy = BaseCopy(pipe)
    passed = bytearray()
    for block in copy.read():
        passed += block
        assert pipe.taken - len(passed) <= READ_BYTES
    assert bytes(passed) == tar
    assert copy.range == BaseRange(1, 0x2000028, 0x2000100)


def read_all(pipe: IO[bytes]) -> BaseRange:
    copy = BaseCopy(pipe)
    list(copy.read())
    return copy.range


def test_a_copy_that_ends_early_is_none() -> None:
    tar = pack(("base/1/16384", bytes(2000)), ("backup_manifest", json.dumps(MANIFEST).encode()))
    for size in (100, 1000):
        with pytest.raises(tarfile.TarError):
            read_all(io.BytesIO(tar[:size]))
    with pytest.raises(BaseBackupError, match="before its manifest"):
        read_all(io.BytesIO(tar[:2560]))
