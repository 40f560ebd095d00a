"""A shop whose orders and functions are called with idempotency keys, which has the functions of
docs/how-to/cache.md, and whose gateways count together."""

import re
from pathlib import Path

PAGE = (Path(__file__).parent.parent.parent / "docs" / "how-to" / "cache.md").read_text("utf-8")

CONFIG = """
project_id = "orders"
[api]
schemas = ["public"]
[basalt.idempotency]
wait = "2s"
max_answer = 10000
[basalt.rate_limit]
store = "postgres"
timeout = "5s"
[basalt.rate_limit.rules.sockets]
paths = ["/realtime/v1/websocket"]
count_by = []
limit = 2
per = "1h"
[basalt.rate_limit.rules.codes]
paths = ["/auth/v1/otp"]
count_by = ["number"]
limit = 2
per = "1h"
[basalt.rate_limit.rules.countries]
paths = ["/rest/v1/countries"]
methods = ["GET"]
count_by = ["header:x-client-info"]
limit = 1
per = "1h"
[functions.open]
verify_jwt = false
"""

MIGRATION = """
create table public.orders (
    id bigint generated always as identity primary key,
    owner uuid default auth.uid(),
    item text not null,
    number text unique,
    quantity int not null default 1
);
alter table public.orders enable row level security;
create policy "users have their own" on public.orders to authenticated
using (owner = (select auth.uid())) with check (owner = (select auth.uid()));
create policy "visitors order too" on public.orders for insert to anon with check (owner is null);
create table public.countries (code text primary key, name text);
create table public.calls (id bigint generated always as identity primary key, name text not null);

create function public.order_slowly(item text, seconds float) returns bigint language plpgsql as $$
declare
    new_id bigint;
begin
    insert into public.orders (item) values (order_slowly.item) returning id into new_id;
    perform pg_sleep(seconds);
    return new_id;
end $$;
create function public.fail(status text) returns void language plpgsql as $$
begin
    insert into public.orders (item) values ('of a failure');
    perform nextval('public.failures');
    raise exception 'not today' using errcode = 'PT' || status;
end $$;
create sequence public.failures;
grant usage on sequence public.failures to authenticated;
create function public.order_and_say(status text) returns void language plpgsql as $$
begin
    insert into public.orders (item) values ('said ' || status);
    perform set_config('response.status', status, true);
end $$;
create function public.now_and_then(n int) returns json language sql stable
    as $$ select json_build_array(n, random()) $$;
create function public.much(n int) returns text language sql volatile as $$
    insert into public.orders (item) values ('much') returning repeat('x', n) $$;
create domain "application/octet-stream" as bytea;
create function public.bytes_of(item text) returns "application/octet-stream" language sql volatile as $$
    insert into public.orders (item) values (bytes_of.item) returning decode('00ff0a0d80', 'hex') $$;
"""

COUNT = """
from basalt.functions import Context, FunctionError, Request, Response
import asyncio

async def handler(request: Request, context: Context) -> object:
    name = request.query.get("name", "count")
    number = await context.service_db.fetch_value(
        "insert into public.calls (name) values (%(name)s) returning id", {"name": name})
    await asyncio.sleep(float(request.query.get("sleep", "0")))
    if status := request.query.get("fail"):
        raise FunctionError("NOT_TODAY", "Not today", status=int(status))
    if request.query.get("bytes"):
        return Response(bytes(range(256)) + request.body, status=201,
            headers={"content-type": "application/octet-stream", "x-number": str(number)})
    return {"number": number, "got": len(request.body)}
"""

FILES = {
    "config.toml": CONFIG,
    "20260101000000_orders.sql": MIGRATION,
    "functions/count/index.py": COUNT,
    "functions/open/index.py": COUNT,
    **{
        path: f"# {path}\n{text}"
        for path, text in re.findall(
            r"^```python\n# supabase/(\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL
        )
    },
}
