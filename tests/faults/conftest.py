"""One running project for the tests that try to break it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.projects import write_project
from tests.server import Server, running_server

CONFIG = """
project_id = "faults"
[api]
schemas = ["public"]
[auth.sms]
enable_signup = true
"""

MIGRATION = """
create table public.films (
    id bigint generated always as identity primary key,
    title text not null,
    year int check (year > 1880),
    tags text[] not null default '{}',
    extra jsonb not null default '{}'
);
insert into public.films (title, year) values ('Metropolis', 1927), ('Nosferatu', 1922);

create table public.secrets (
    id bigint generated always as identity primary key,
    owner uuid not null default auth.uid(),
    body text not null
);
alter table public.secrets enable row level security;
create policy "owners read their own" on public.secrets for select to authenticated
using (owner = (select auth.uid()));
create policy "owners write their own" on public.secrets for insert to authenticated
with check (owner = (select auth.uid()));

create function public.whoami() returns json language sql stable
as $$ select json_build_object('role', current_user, 'sub', auth.uid(), 'claims', auth.jwt()) $$;

create function public.add(a int, b int) returns int language sql immutable
as $$ select a + b $$;

create function public.fail(message text) returns void language plpgsql
as $$ begin raise exception '%', message; end $$;

create function public.nap(seconds float) returns text language sql volatile
as $$ select 'slept' from pg_sleep(seconds) $$;
"""

ECHO = """
from basalt.functions import Context, Request

async def handler(request: Request, context: Context) -> object:
    return {"sub": context.user_id, "json": request.json() if request.body else None}
"""


def make_project(folder: Path) -> Path:
    files = {
        "config.toml": CONFIG,
        "20260101000000_films.sql": MIGRATION,
        "functions/echo/index.py": ECHO,
    }
    return write_project(folder, files)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(make_project(tmp_path_factory.mktemp("faults"))) as running:
        yield running
