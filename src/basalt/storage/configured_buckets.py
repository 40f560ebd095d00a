"""`[storage.buckets.NAME]`: made, or brought to their settings, at every start, and filled with the seeds.

As with `supabase seed buckets`, what the settings do not name stays as it is, and so do buckets that they do not
know. Everything that can be wrong with them is found before anything is changed.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

import orjson

from basalt.config import BucketSettings, ConfigError, Problem, Settings
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess, PostgresError, Query
from basalt.storage.back_ends import open_back_ends
from basalt.storage.bucket_files import BucketFile, find_file_problems, list_files, upload_files
from basalt.storage.database import StorageDatabase
from basalt.storage.errors import StorageError
from basalt.storage.media import check_pattern
from basalt.storage.names import check_bucket_name
from basalt.storage.stores import Store

Tell = Callable[[str], None]

ENSURE_BUCKET: Final = """
insert into storage.buckets as b (id, name, public, file_size_limit, allowed_mime_types)
select $1, $1, coalesce($2::boolean, false), $3::bigint, given.types
from (select array(select jsonb_array_elements_text($4::jsonb)) as types where $4::jsonb is not null
    union all select null where $4::jsonb is null) as given
on conflict (id) do update
set public = coalesce($2::boolean, b.public),
    file_size_limit = coalesce(excluded.file_size_limit, b.file_size_limit),
    allowed_mime_types = coalesce(excluded.allowed_mime_types, b.allowed_mime_types),
    updated_at = now()
where (b.public, b.file_size_limit, b.allowed_mime_types) is distinct from (coalesce($2::boolean, b.public),
    coalesce(excluded.file_size_limit, b.file_size_limit),
    coalesce(excluded.allowed_mime_types, b.allowed_mime_types))
returning id
"""
IS_SEEDED: Final = "select exists (select from basalt.seeded_buckets where bucket_id = $1)"
NOTE_SEEDED: Final = "insert into basalt.seeded_buckets (bucket_id) values ($1) on conflict do nothing"


def check_bucket_settings(settings: Settings) -> None:
    """Raises ConfigError with all that is wrong with the buckets of the settings and their files."""
    if not settings.storage.enabled:
        return
    path = str(settings.supabase_dir / "config.toml")
    problems = [
        Problem(path, f"storage.buckets.{name}{key}", reason)
        for name, bucket in settings.storage.buckets.items()
        for key, reason in _find_problems(settings, name, bucket)
    ]
    if problems:
        raise ConfigError(problems)


def ensure_buckets(settings: Settings, access: DatabaseAccess, *, on_progress: Tell | None = None) -> None:
    """Make the buckets of the settings, and put in the files of those that the database has not seen. Raises
    BasaltError; may be repeated."""
    if not settings.storage.enabled or not settings.storage.buckets:
        return
    check_bucket_settings(settings)
    asyncio.run(_ensure(settings, access, on_progress or (lambda _: None)))


async def _ensure(settings: Settings, access: DatabaseAccess, tell: Tell) -> None:
    async with open_back_ends(settings, access) as (db, store):
        for name, bucket in settings.storage.buckets.items():
            await _ensure_bucket(db, name, bucket, tell)
        if settings.db.seed.enabled:
            for name, bucket in settings.storage.buckets.items():
                await _seed_bucket(db, store, name, list_files(settings, bucket), tell)


async def _ensure_bucket(db: StorageDatabase, name: str, bucket: BucketSettings, tell: Tell) -> None:
    public = None if bucket.public is None else str(bucket.public).lower().encode()
    limit = None if bucket.file_size_limit_bytes is None else b"%d" % bucket.file_size_limit_bytes
    types = orjson.dumps(bucket.allowed_mime_types) if bucket.allowed_mime_types else None
    try:
        [result] = await db.run(None, Query(ENSURE_BUCKET, (name.encode(), public, limit, types)))
    except PostgresError as error:
        raise BasaltError(
            "bucket_not_made", 500, f"Bucket {name} of the settings cannot be made: {error.message}"
        ) from error
    if result.rows:
        tell(f"Setting up bucket {name}")


async def _seed_bucket(
    db: StorageDatabase, store: Store, name: str, files: list[BucketFile], tell: Tell
) -> None:
    [seeded] = await db.run(None, Query(IS_SEEDED, (name.encode(),)), read_only=True)
    if not files or seeded.rows[0][0] == b"t":
        return
    await upload_files(db, store, name, files, tell)
    await db.run(None, Query(NOTE_SEEDED, (name.encode(),)))


def _find_problems(settings: Settings, name: str, bucket: BucketSettings) -> Iterator[tuple[str, str]]:
    """Keys below the bucket's and what is wrong with them."""
    most = settings.storage.file_size_limit_bytes
    try:
        check_bucket_name(name)
    except StorageError:
        yield "", "this is no name for a bucket: letters, digits, blanks and !_.*'()&$@=;:+,?- are allowed"
    if bucket.file_size_limit_bytes is not None and bucket.file_size_limit_bytes > most:
        yield ".file_size_limit", f"it is above the server's limit of {most} bytes"
    for pattern in bucket.allowed_mime_types:
        try:
            check_pattern(pattern)
        except StorageError as error:
            yield ".allowed_mime_types", error.message
    for reason in find_file_problems(settings, bucket):
        yield ".objects_path", reason
