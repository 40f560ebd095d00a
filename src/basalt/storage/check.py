"""Whether rows and bytes agree: every object has its bytes whole, and all bytes belong to somebody.

Both sides are read once, in the order of versions, and compared as they come. What looks wrong is looked at again,
because the project may be at work meanwhile.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Literal

from basalt.postgres import Query
from basalt.storage.database import StorageDatabase
from basalt.storage.orphans import FIND_ORPHANS, find_missing
from basalt.storage.stores import ContentMissingError, Store, Stored

BATCH: Final = 1000
PLAIN_MD5: Final = re.compile(r'"([0-9a-f]{32})"')  # not that of an object that was put together from parts
VERSION: Final = "'^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'"
NO_UUID: Final = "00000000-0000-0000-0000-000000000000"

ROW: Final = (
    "o.id, coalesce(o.version, ''), o.bucket_id, o.name, o.metadata ->> 'size', o.metadata ->> 'eTag'"
)
ROWS_AFTER: Final = f"""
select {ROW} from storage.objects as o
where (o.version, o.id) > ($1, $2::uuid) and o.version ~ {VERSION}
order by o.version, o.id
limit {BATCH}
"""  # noqa: S608 - put together from constants
ROWS_WITHOUT_VERSION: Final = f"""
select {ROW} from storage.objects as o
where (o.version is null or o.version !~ {VERSION}) and o.id > $1::uuid
order by o.id
limit {BATCH}
"""  # noqa: S608
IS_THERE: Final = (
    "select exists (select from storage.objects where id = $1::uuid and coalesce(version, '') = $2)"
)

Kind = Literal["bytes missing", "row missing", "size differs", "checksum differs"]


@dataclass(frozen=True, slots=True)
class Difference:
    """`bucket_id` and `name` are None where there is no row."""

    kind: Kind
    version: str
    bucket_id: str | None = None
    name: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """How many rows and versions in the store were looked at, and what is wrong."""

    objects: int
    stored: int
    differences: list[Difference]


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    version: str
    bucket_id: str
    name: str
    size: int | None
    etag: str | None

    def differs(self, kind: Kind, detail: str = "") -> Difference:
        return Difference(kind, self.version, self.bucket_id, self.name, detail)


async def check_store(db: StorageDatabase, store: Store, *, checksums: bool = False) -> CheckReport:
    """Compare all rows with all bytes; with `checksums`, read the bytes too."""
    comparing = _Comparing(db, store, checksums=checksums)
    await comparing.run()
    return CheckReport(comparing.objects, comparing.stored, comparing.differences)


class _Comparing:
    """One comparison: two sorted streams side by side."""

    def __init__(self, db: StorageDatabase, store: Store, *, checksums: bool) -> None:
        self._db = db
        self._store = store
        self._checksums = checksums
        self._ownerless: list[str] = []
        self.objects = self.stored = 0
        self.differences: list[Difference] = []

    async def run(self) -> None:
        async for row in _list_rows_without_version(self._db):
            await self._compare(row, None)
        await self._compare_versions()

    async def _compare_versions(self) -> None:
        async with aclosing(_list_rows(self._db)) as rows, aclosing(_list_stored(self._store)) as stored:
            row, found = await anext(rows, None), await anext(stored, None)
            while row is not None or found is not None:
                version = min(one.version for one in (row, found) if one is not None)
                bytes_of_version = found if found is not None and found.version == version else None
                has_row = False
                while row is not None and row.version == version:  # several rows by SQL
                    has_row = True
                    await self._compare(row, bytes_of_version)
                    row = await anext(rows, None)
                if bytes_of_version is not None:
                    self.stored += 1
                    if not has_row:
                        await self._note_ownerless(version)
                    found = await anext(stored, None)
        await self._settle_ownerless()

    async def _compare(self, row: _Row, found: Stored | None) -> None:
        self.objects += 1
        if found is None:
            if await self._is_still_missing(row):
                self.differences.append(row.differs("bytes missing"))
        elif row.size != found.size:
            self.differences.append(row.differs("size differs", f"row {row.size}, bytes {found.size}"))
        elif self._checksums and (plain := PLAIN_MD5.fullmatch(row.etag or "")):
            digest = await self._digest(found)
            if digest not in (plain[1], None):
                self.differences.append(row.differs("checksum differs", f"row {plain[1]}, bytes {digest}"))

    async def _is_still_missing(self, row: _Row) -> bool:
        try:
            await self._store.read(row.version, 0, 0)
        except ContentMissingError:
            params = (row.id.encode(), row.version.encode())
            [there] = await self._db.run(None, Query(IS_THERE, params), read_only=True)
            return there.rows[0][0] == b"t"
        return False

    async def _digest(self, found: Stored) -> str | None:
        """None for what was taken away since."""
        digest = hashlib.md5(usedforsecurity=False)
        try:
            content = await self._store.read(found.version, 0, found.size)
            if isinstance(content, bytes):
                digest.update(content)
            else:
                async for block in content:
                    await asyncio.to_thread(digest.update, block)
        except ContentMissingError:
            return None
        return digest.hexdigest()

    async def _note_ownerless(self, version: str) -> None:
        self._ownerless.append(version)
        if len(self._ownerless) >= BATCH:
            await self._settle_ownerless()

    async def _settle_ownerless(self) -> None:
        """Those that are noted as garbage, or have their row by now, are no difference."""
        missing = await find_missing(self._db, FIND_ORPHANS, self._ownerless)
        self.differences += [Difference("row missing", version) for version in missing]
        self._ownerless = []


async def _list_rows(db: StorageDatabase) -> AsyncGenerator[_Row, None]:
    """In the order of their versions."""
    last_version, last_id = "", NO_UUID
    while rows := await _page(db, ROWS_AFTER, last_version, last_id):
        for row in rows:
            yield row
        last_version, last_id = rows[-1].version, rows[-1].id


async def _list_rows_without_version(db: StorageDatabase) -> AsyncGenerator[_Row, None]:
    """What was written by SQL and names no bytes that could be there."""
    last_id = NO_UUID
    while rows := await _page(db, ROWS_WITHOUT_VERSION, last_id):
        for row in rows:
            yield row
        last_id = rows[-1].id


async def _page(db: StorageDatabase, statement: str, *after: str) -> list[_Row]:
    params = tuple(value.encode() for value in after)
    [found] = await db.run(None, Query(statement, params), read_only=True)
    texts = [[None if value is None else value.decode() for value in row] for row in found.rows]
    return [
        _Row(row_id or "", version or "", bucket_id or "", name or "", _number(size), etag)
        for row_id, version, bucket_id, name, size, etag in texts
    ]


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


async def _list_stored(store: Store) -> AsyncGenerator[Stored, None]:
    async for page in store.list_older(0):
        for stored in page:
            yield stored
