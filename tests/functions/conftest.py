"""A running project with functions that behave and functions that do not."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from basalt.functions.deno import start_deno
from basalt.functions.function_process import FunctionProcess
from tests.functions.answering import ANSWERS
from tests.functions.deno_processes import Start, copy_functions, describe
from tests.functions.misbehaving import MISBEHAVING
from tests.functions.reaching_out import REACHING_OUT
from tests.projects import write_project
from tests.server import Server, running_server

CONFIG = """
project_id = "functions"
[api]
schemas = ["public", "flags"]
[functions.open]
verify_jwt = false
[functions.slow]
timeout = "500ms"
[functions.hog]
memory_mb = 128
[functions.off]
enabled = false
[functions.answers]
max_answer = "60MiB"
[functions.short]
max_answer = 1024
[functions.drip]
total_timeout = "1500ms"
[functions.narrow]
concurrency = 1
processes = 2
[functions.packed]
requirements = "packed.txt"
[functions.context]
queue = "fast"
"""

MIGRATION = """
create table public.notes (
    id bigint generated always as identity primary key,
    owner uuid default auth.uid(),
    price numeric(10, 2) not null default 12.30,
    body text not null unique
);
alter table public.notes enable row level security;
create policy "owners read their own" on public.notes for select to authenticated using (owner = (select auth.uid()));
create policy "owners write their own" on public.notes for insert to authenticated
with check (owner = (select auth.uid()));

insert into storage.buckets (id, name, public) values ('shelf', 'shelf', false), ('shown', 'shown', true);
create policy "owners use the shelf" on storage.objects for all to authenticated
using (bucket_id = 'shelf' and (storage.foldername(name))[1] = (select auth.uid()::text))
with check (bucket_id = 'shelf' and (storage.foldername(name))[1] = (select auth.uid()::text));

create function public.refuse() returns void language plpgsql as $$
begin
    raise exception 'ALREADY_APPLIED: You have already applied'
    using errcode = 'PT409', detail = '{"gig": 7}', hint = 'Look';
end $$;
"""

PACKED = """
import greetings_of_a_test

async def handler(request, context):
    return greetings_of_a_test.word
"""

FUNCTIONS = {
    "_shared/greetings.py": """
def greet(name: str) -> str:
    return f"Hello {name}"
""",
    "echo/index.py": """
from basalt.functions import Context, Request

async def handler(request: Request, context: Context) -> object:
    return {
        "method": request.method, "path": request.path, "query": dict(request.query), "bytes": len(request.body),
        "user": context.user_id, "role": context.role, "request_id": context.request_id,
        "env": sorted(name for name in context.env if name.startswith(("SUPABASE", "OWN", "SECRET_OF_GATEWAY"))),
    }
""",
    ".env": "OWN_SECRET=abc\n",
    "hello/index.py": """
from _shared.greetings import greet
from basalt.functions import Context, Request, Response
from pydantic import BaseModel, Field

class Body(BaseModel):
    name: str = Field(min_length=2)
    age: int

async def handler(request: Request, context: Context) -> object:
    body = request.parse(Body)
    print("greeting", body.name)
    context.log.info("greeted %s", body.name)
    return Response(greet(body.name), status=201, headers={"X-Own": "yes"})
""",
    "notes/index.py": """
from basalt.functions import Context, FunctionError, Request

async def handler(request: Request, context: Context) -> object:
    if request.method == "POST":
        async with context.db.transaction() as tx:
            body = {"body": request.json()["body"]}
            row = await tx.fetch_one("insert into notes (body) values (%(body)s) returning *", body)
            if request.query.get("fail"):
                raise FunctionError("CHANGED_MY_MIND", "Nothing of it stays", status=422, details={"id": row["id"]})
            return row
    return {
        "mine": await context.db.fetch_all("select body from notes order by id"),
        "all": await context.service_db.fetch_value("select count(*) from notes"),
        "role": await context.db.fetch_value("select current_user::text"),
    }
""",
    "refuse/index.py": """
from basalt.functions import Context, Request

async def handler(request: Request, context: Context) -> object:
    return await context.db.fetch_value("select public.refuse()")
""",
    "open/index.py": """
async def handler(request, context):
    return {"role": context.role}
""",
    "crash/index.py": """
async def handler(request, context):
    raise RuntimeError("the password is hunter2")
""",
    "slow/index.py": """
import asyncio

async def handler(request, context):
    if request.query.get("how") == "loop":
        while True:
            pass
    try:
        await asyncio.sleep(30)
    finally:
        print("cancelled in order")
""",
    "exit/index.py": """
import asyncio, os

async def handler(request, context):
    if request.query.get("now"):
        os._exit(3)
    await asyncio.sleep(0.01)
    return os.getpid()
""",
    "hog/index.py": """
async def handler(request, context):
    return len(bytearray(8 * 1024 ** 3))
""",
    "wait/index.py": """
import asyncio

async def handler(request, context):
    print("waiting")
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        print("the client left")
        raise
""",
    "broken/index.py": """
async def handler(request, context):
    return 1 +
""",
    "handlerless/index.py": "value = 1\n",
    "off/index.py": "async def handler(request, context): return 1\n",
    "deno/index.ts": "Deno.serve(() => new Response('hi'))\n",
    "packed/index.py": PACKED,
    "unpacked/index.py": PACKED,
    **ANSWERS,
    **MISBEHAVING,
    **REACHING_OUT,
}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    files = {
        "config.toml": CONFIG,
        "20260101000000_notes.sql": MIGRATION,
        **{f"functions/{name}": text for name, text in FUNCTIONS.items()},
    }
    project = write_project(tmp_path_factory.mktemp("functions"), files)
    with running_server(project, SECRET_OF_GATEWAY="not for functions") as running:
        yield running


@pytest.fixture(scope="session")
def deno_functions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Functions in the idioms of public Supabase projects, with a state folder beside them."""
    return copy_functions(tmp_path_factory.mktemp("deno"))


@pytest.fixture
async def start(deno_functions: Path) -> AsyncIterator[Start]:
    """Starts a function of `deno_functions`, or of another folder; it ends with the test."""
    started: list[FunctionProcess] = []

    async def start(
        name: str, functions_dir: Path = deno_functions, log: object = None, **changes: object
    ) -> FunctionProcess:
        function = describe(functions_dir, name, deno_functions.parent / ".basalt", **changes)
        process = await start_deno(function, os.environ, log)
        started.append(process)
        return process

    yield start
    for process in started:
        await process.close()
