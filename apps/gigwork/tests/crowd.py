"""A thousand workers clock in within a minute and out again, through the functions, some of them twice: what came back,
and what the database says of every point. For the test and for `bench/gigwork.py`."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2
import psycopg
from psycopg.rows import dict_row

LAT, LNG = 3.1390, 101.6869
CONNECTIONS = 32
REPEATED = 10  # every tenth request is sent a second time, at the same moment

PEOPLE = """
with made as (
    insert into auth.users (id, aud, role, phone)
    select gen_random_uuid(), 'authenticated', 'authenticated', '6599' || lpad(n::text, 7, '0')
    from generate_series(1, %(workers)s + 1) as n
    returning id, phone
)
select id from made order by phone
"""
GIGS = """
insert into public.gigs (
    employer_id, title, category, location, hourly_rate, start_date, end_date, capacity, status, published_at)
select %(employer)s, 'Stadium crew', 'events',
    extensions.st_setsrid(extensions.st_makepoint(%(lng)s, %(lat)s), 4326)::extensions.geography,
    12.5, current_date - 1, current_date + 30, 100, 'open', now()
from generate_series(1, %(gigs)s)
returning id
"""
APPLY = """
insert into public.gig_applications (user_id, gig_id)
select pair.user_id, pair.gig_id from unnest(%(users)s::uuid[], %(gigs)s::uuid[]) as pair (user_id, gig_id)
"""
ACCEPT = """
update public.gig_applications set status = 'accepted', decided_at = now() where user_id = any(%(users)s::uuid[])
"""
SHEETS = """
select user_id::text as worker, id::text as sheet from public.timesheets where user_id = any(%(users)s::uuid[])
"""
# What each must have: 10 for the application, 50 for the shift, the bonus of what was unlocked; and every row once.
WRONG = """
select u.id
from public.users as u
where u.id = any(%(users)s::uuid[]) and (
    u.total_points <> (select coalesce(sum(p.points), 0) from public.points_log as p where p.user_id = u.id)
    or u.total_points <> 60 + (
        select coalesce(sum(a.points_reward), 0) from public.user_achievements as ua
        join public.achievements as a on a.id = ua.achievement_id where ua.user_id = u.id)
    or (select count(*) from public.timesheets as t where t.user_id = u.id) <> 1
    or (select count(*) from public.points_log as p where p.user_id = u.id and p.reason = 'completed_shift') <> 1
)
"""


@dataclass
class Shift:
    """How long all clock-ins (or clock-outs) took, how often each status came, and each answer's time."""

    took_s: float
    statuses: Counter[int]
    times_ms: list[float] = field(repr=False)


@dataclass
class Day:
    clock_in: Shift
    clock_out: Shift
    wrong_balances: int


async def work_a_day(
    url: str, key: str, jwt_secret: str, database_url: str, *, workers: int = 1000, gigs: int = 20
) -> Day:
    """Raises nothing for refusals: the statuses and the count of wrong balances tell."""
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as owner:
        places = prepare(owner, workers, gigs)
        tokens = {worker: sign_token(jwt_secret, worker) for worker in places}
        limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        async with httpx2.AsyncClient(
            base_url=url, headers={"apikey": key}, timeout=60, limits=limits
        ) as client:
            here = {"lat": LAT, "lng": LNG}
            came = await send_all(
                client, "clock-in", {worker: {"gigId": gig, **here} for worker, gig in places.items()}, tokens
            )
            sheets = owner.execute(
                SHEETS,
                {"users": list(places)},
            ).fetchall()
            left = await send_all(
                client,
                "clock-out",
                {row["worker"]: {"timesheetId": row["sheet"], **here} for row in sheets},
                tokens,
            )
        wrong = owner.execute(WRONG, {"users": list(places)}).fetchall()
    return Day(came, left, len(wrong))


def prepare(owner: psycopg.Connection[dict[str, Any]], workers: int, gigs: int) -> dict[str, str]:
    """Which worker is accepted at which gig."""
    with owner.transaction():
        people = [str(row["id"]) for row in owner.execute(PEOPLE, {"workers": workers}).fetchall()]
        employer, crew = people[0], people[1:]
        owner.execute("update public.users set role = 'employer' where id = %s", [employer])
        sites = [
            str(row["id"])
            for row in owner.execute(
                GIGS, {"employer": employer, "gigs": gigs, "lat": LAT, "lng": LNG}
            ).fetchall()
        ]
        places = {worker: sites[number % gigs] for number, worker in enumerate(crew)}
        owner.execute(APPLY, {"users": list(places), "gigs": list(places.values())})
        owner.execute(ACCEPT, {"users": list(places)})
    return places


async def send_all(
    client: httpx2.AsyncClient, function: str, bodies: dict[str, dict[str, Any]], tokens: dict[str, str]
) -> Shift:
    async def send(worker: str) -> tuple[int, float]:
        async with gate:
            started = time.monotonic()
            answer = await client.post(
                f"/functions/v1/{function}",
                json=bodies[worker],
                headers={"authorization": f"Bearer {tokens[worker]}"},
            )
            return answer.status_code, (time.monotonic() - started) * 1000

    gate = asyncio.Semaphore(CONNECTIONS)
    calls = [
        worker for number, worker in enumerate(bodies) for _ in range(2 if number % REPEATED == 0 else 1)
    ]
    started = time.monotonic()
    answers = await asyncio.gather(*(send(worker) for worker in calls))
    return Shift(
        time.monotonic() - started,
        Counter(status for status, _ in answers),
        [took_ms for _, took_ms in answers],
    )


def sign_token(secret: str, user_id: str) -> str:
    """An access token as Auth would give it."""
    claims = {"aud": "authenticated", "exp": int(time.time()) + 3600, "role": "authenticated", "sub": user_id}
    parts = [_encode({"alg": "HS256", "typ": "JWT"}), _encode(claims)]
    return ".".join([*parts, _base64(hmac.digest(secret.encode(), ".".join(parts).encode(), hashlib.sha256))])


def _encode(value: object) -> str:
    return _base64(json.dumps(value).encode())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
