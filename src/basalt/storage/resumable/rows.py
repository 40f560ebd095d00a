"""Rows of `basalt.resumable_uploads`: what an upload will be and whose it is.

How many bytes have come is not in them: the parts in the store say it.
"""

from dataclasses import dataclass
from typing import Final

from basalt.postgres import Query
from basalt.storage.database import Scope, StorageDatabase
from basalt.storage.errors import StorageError
from basalt.storage.names import new_version
from basalt.storage.uploads import NewObject

COLUMNS: Final = """u.id, u.bucket_id, u.name, u.metadata, u.length, u.owner_id, u.role, u.is_signed, u.is_upsert,
    u.finished_at is not null, extract(epoch from u.expires_at)::bigint, u.expires_at < now(),
    array_to_string(u.lost_parts, ',')"""

INSERT: Final = f"""
insert into basalt.resumable_uploads as u
    (id, bucket_id, name, metadata, length, owner_id, role, is_signed, is_upsert, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, now() + $10::float8 * interval '1 second')
returning {COLUMNS}
"""  # noqa: S608 - put together from constants
FIND: Final = f"select {COLUMNS} from basalt.resumable_uploads as u where u.id = $1"  # noqa: S608


@dataclass(frozen=True, slots=True)
class ResumableUpload:
    """`metadata` is `Upload-Metadata` as sent, `length` None while it is deferred, `expires_at` in seconds since 1970.
    Parts with the numbers of `lost_parts` do not count: see `leases`."""

    id: str
    bucket_id: str
    name: str
    metadata: str
    length: int | None
    owner_id: str | None
    role: str
    is_signed: bool
    is_upsert: bool
    is_finished: bool
    expires_at: int
    is_expired: bool
    lost_parts: frozenset[int]

    def is_of(self, scope: Scope, *, is_signed: bool) -> bool:
        """Whether the scope is the one that made it: the same user, or for those without a user id the same role. A
        policy that lets two people write to one folder does not let them write into each other's upload."""
        is_same = self.owner_id is not None or self.role == scope.caller.role
        return is_same and self.is_signed == is_signed and self.owner_id == scope.owner_id


def upload_of_row(row: tuple[bytes | None, ...]) -> ResumableUpload:
    """From `COLUMNS`."""
    texts = ["" if value is None else value.decode() for value in row]
    return ResumableUpload(
        id=texts[0],
        bucket_id=texts[1],
        name=texts[2],
        metadata=texts[3],
        length=None if row[4] is None else int(texts[4]),
        owner_id=None if row[5] is None else texts[5],
        role=texts[6],
        is_signed=texts[7] == "t",
        is_upsert=texts[8] == "t",
        is_finished=texts[9] == "t",
        expires_at=int(texts[10]),
        is_expired=texts[11] == "t",
        lost_parts=frozenset(int(number) for number in texts[12].split(",") if number),
    )


async def insert_upload(
    db: StorageDatabase, scope: Scope, new: NewObject, *, metadata: str, is_signed: bool, expiry_s: float
) -> ResumableUpload:
    """A new upload of the scope's own, under an id that nobody can guess."""
    params = (
        new_version(),
        new.bucket_id,
        new.name,
        metadata,
        None if new.size is None else str(new.size),
        scope.owner_id,
        scope.caller.role,
        str(is_signed),
        str(new.upsert),
        str(expiry_s),
    )
    query = Query(INSERT, tuple(None if param is None else param.encode() for param in params))
    [result] = await db.run_or_refuse(None, query)
    return upload_of_row(result.rows[0])


async def find_upload(db: StorageDatabase, upload_id: str) -> ResumableUpload:
    """Raises StorageError NoSuchUpload."""
    [result] = await db.run_or_refuse(None, Query(FIND, (upload_id.encode(),)), read_only=True)
    if not result.rows:
        raise StorageError("NoSuchUpload")
    return upload_of_row(result.rows[0])
