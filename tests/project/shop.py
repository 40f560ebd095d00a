"""A shop with two people and what they left, for tests of what becomes of it."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import psycopg

from basalt.config import Settings
from basalt.project import Erasure
from basalt.storage import open_store
from tests.projects import settings_of, write_project

T = TypeVar("T")

ADA = UUID("0b2e6f0e-6b4e-4b0e-8b0e-00000000ada0")
BOB = UUID("0b2e6f0e-6b4e-4b0e-8b0e-00000000b0b0")
SHOP = """
create table public.profiles (
    id uuid primary key references auth.users on delete cascade, name text not null, bio text);
create table public.orders (
    id bigint primary key, profile_id uuid references public.profiles on delete cascade, address text, total int);
create table public.order_items (order_id bigint references public.orders on delete cascade, place int, title text);
create table public.reviews (
    id bigint primary key, author_id uuid references auth.users on delete set null, text text, parent bigint
        references public.reviews on delete cascade);
create table public.review_likes (review_id bigint references public.reviews on delete cascade,
    user_id uuid references auth.users on delete cascade, primary key (review_id, user_id));
create table public.logins (id bigint primary key, who text, at timestamptz default now());
create table public.products (id bigint primary key, title text);

insert into public.products values (1, 'chair');
insert into public.profiles select id, raw_user_meta_data ->> 'name', 'likes chairs' from auth.users;
insert into public.orders select 1, id, 'Elm Street 1', 10 from auth.users where email like 'ada%';
insert into public.orders select 2, id, 'Elm Street 2', 20 from auth.users where email like 'bob%';
insert into public.order_items values (1, 1, 'chair'), (1, 2, 'table'), (2, 1, 'lamp');
insert into public.reviews select 1, id, 'good', null from auth.users where email like 'ada%';
insert into public.reviews select 2, id, 'thanks', 1 from auth.users where email like 'bob%';
insert into public.review_likes select 1, id from auth.users where email like 'bob%';
insert into public.review_likes select 2, id from auth.users where email like 'ada%';
insert into public.logins select row_number() over (), id::text from auth.users order by email;
"""
KEEP_ORDERS = """
[basalt.privacy.tables."public.profiles"]
on_erase = "anonymise"
columns = ["name", "bio"]
[basalt.privacy.tables."public.orders"]
on_erase = "keep"
[basalt.privacy.tables."public.logins"]
user_columns = ["who"]
on_erase = "delete"
"""


def project(tmp_path: Path, config: str = "") -> Settings:
    return settings_of(write_project(tmp_path / "shop", {"config.toml": config}))


def count(connection: psycopg.Connection, table: str, where: str = "true") -> int:
    row = connection.execute(f"select count(*) from {table} where {where}").fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(row[0])


def changes(erasure: Erasure) -> dict[str, tuple[int, int, int]]:
    return {
        name: (counts["deleted"], counts["changed"], counts["kept"])
        for name, counts in erasure.tables.items()
        if name.startswith("public.")
    }


async def store_file(
    settings: Settings, connection: psycopg.Connection, owner: UUID, name: str, content: bytes
) -> str:
    version = str(UUID(bytes=hashlib.md5(name.encode()).digest(), version=4))

    async def chunks():  # type: ignore[no-untyped-def]
        yield content

    async with open_store(settings) as store:
        await store.put(version, chunks(), limit=10_000)
    connection.execute(
        "insert into storage.buckets (id, name) values ('photos', 'photos') on conflict do nothing"
    )
    connection.execute(
        "insert into storage.objects (bucket_id, name, owner, owner_id, version, metadata) "
        "values ('photos', %s, %s, %s, %s, jsonb_build_object('size', %s::int))",
        [name, owner, str(owner), version, len(content)],
    )
    return version


async def in_thread(call: Callable[[], T]) -> T:
    """The commands have an event loop of their own."""
    return await asyncio.to_thread(call)
