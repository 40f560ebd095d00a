"""How fast Auth is: `python -m bench.auth [--seconds 5] [--record]`.

Sign-ins are set against a bare bcrypt loop on the same cores in the same run, and reads of REST during a storm of
sign-ins against the same reads on a quiet server. Refreshes and `getUser` have their own rates: every refresh uses
another session's token, once.
"""

import argparse
import json
import os
import sys
import threading
import time
from dataclasses import dataclass, replace
from uuid import UUID

import bcrypt
import psycopg

from basalt.auth.passwords import DEFAULT_ROUNDS
from basalt.auth.refresh_tokens import new_refresh_token, stored_form
from basalt.postgres import load_access
from bench.load import Load, Measured, run_load, running_load
from bench.outcomes import record_table
from bench.requests import sign_token
from bench.server import Server, serving_bench_project

PASSWORD = "correct horse battery"
USERS = 500
SIGN_IN_CONNECTIONS = 8
REFRESHES = 20_000
CONNECTIONS = 32

CREATE_USERS = """
insert into auth.users (instance_id, id, aud, role, email, encrypted_password, email_confirmed_at,
    raw_app_meta_data, raw_user_meta_data, created_at, updated_at)
select '00000000-0000-0000-0000-000000000000', ('00000000-0000-4000-a000-' || lpad(n::text, 12, '0'))::uuid,
    'authenticated', 'authenticated', 'user' || n || '@example.com', %(hash)s, now(),
    '{"provider": "email", "providers": ["email"]}', '{"name": "Ada"}', now(), now()
from generate_series(1, %(users)s) as n
"""
CREATE_IDENTITIES = """
insert into auth.identities (provider_id, user_id, identity_data, provider, last_sign_in_at, created_at, updated_at)
select id::text, id, jsonb_build_object('sub', id, 'email', email), 'email', now(), now(), now() from auth.users
"""
CREATE_SESSION = """
insert into auth.sessions (id, user_id, aal, created_at, updated_at) values (%s, %s, 'aal1', now(), now())
"""
CREATE_TOKEN = """
insert into auth.refresh_tokens (token, user_id, session_id, revoked, created_at, updated_at)
values (%s, %s, %s, false, now(), now())
"""
CREATE_METHODS = """
insert into auth.mfa_amr_claims (id, session_id, created_at, updated_at, authentication_method)
select gen_random_uuid(), id, now(), now(), 'password' from auth.sessions
"""


@dataclass(frozen=True)
class Row:
    """One line of the table; `reference` names what the figure is set against."""

    title: str
    figure: str
    reference: str = ""
    ratio: str = ""
    goal: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.auth", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement (5)")
    parser.add_argument("--record", action="store_true", help="append the table to bench/RESULTS.md")
    arguments = parser.parse_args()
    tell(
        f"starting the project; the machine's load is {os.getloadavg()[0]:.1f} (near 0 when it is ours alone)"
    )
    with serving_bench_project() as server:
        tokens = prepare(server)
        rows = [
            *measure_sign_ins(server, arguments.seconds),
            measure_refreshes(server, tokens),
            measure_get_user(server, arguments.seconds),
        ]
    table = render(rows)
    print(table)
    if arguments.record:
        record_table(f"Auth, {arguments.seconds:g} s each", table)


def prepare(server: Server) -> list[str]:
    """Users with a password, and sessions with a refresh token each, which are returned."""
    password_hash = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(DEFAULT_ROUNDS)).decode()
    tokens = [new_refresh_token() for _ in range(REFRESHES)]
    access = load_access(server.project_dir / ".basalt")
    with psycopg.connect(access.conninfo("supabase_admin")) as connection, connection.cursor() as cursor:
        cursor.execute(CREATE_USERS, {"hash": password_hash, "users": USERS})
        cursor.execute(CREATE_IDENTITIES)
        owners = [(session_id(number), user_id(number)) for number in range(REFRESHES)]
        cursor.executemany(CREATE_SESSION, owners)
        cursor.executemany(
            CREATE_TOKEN,
            [
                (stored_form(token), str(owner), session)
                for token, (session, owner) in zip(tokens, owners, strict=True)
            ],
        )
        cursor.execute(CREATE_METHODS)
        connection.commit()
        connection.autocommit = True
        cursor.execute("analyze")
    return tokens


def user_id(number: int) -> UUID:
    return UUID(f"00000000-0000-4000-a000-{number % USERS + 1:012}")


def session_id(number: int) -> UUID:
    return UUID(f"00000000-0000-4000-9000-{number:012}")


def measure_sign_ins(server: Server, seconds: float) -> list[Row]:
    """Sign-ins, with reads beside them; the same reads alone; bcrypt alone before and after, of which the mean
    counts."""
    reads = replace(read_load(server, seconds + 2), connections=4)
    quiet = check(run_load(replace(reads, seconds=seconds)))
    before = bare_bcrypt_rate(seconds)
    alone = check(run_load(sign_in_load(server, seconds)))
    reference = (before + bare_bcrypt_rate(seconds)) / 2
    with running_load(sign_in_load(server, seconds + 4)) as finish:
        storm = check(run_load(replace(reads, seconds=seconds)))
        check(finish())
    return [
        Row(
            "sign-ins by password",
            f"{alone.rate:.1f}/s",
            f"bare bcrypt {reference:.1f}/s",
            f"{alone.rate / reference:.2f}",
            "≥ 0.9",
        ),
        Row(
            "reads during a storm of sign-ins, p99",
            f"{storm.p99_ms:.1f} ms",
            f"quiet {quiet.p99_ms:.1f} ms",
            f"{storm.p99_ms / quiet.p99_ms:.1f}",
            "< 50 ms or < 3",
        ),
    ]


def measure_refreshes(server: Server, tokens: list[str]) -> Row:
    requests = [
        request(server, "POST", "/auth/v1/token?grant_type=refresh_token", {"refresh_token": token})
        for token in tokens
    ]
    load = Load(server.host, server.port, requests, connections=CONNECTIONS, seconds=120, count=len(requests))
    measured = check(run_load(load))
    return Row("token refreshes", f"{measured.rate:,.0f}/s, p99 {measured.p99_ms:.1f} ms", goal="≥ 1,500/s")


def measure_get_user(server: Server, seconds: float) -> Row:
    requests = [
        request(
            server, "GET", "/auth/v1/user", token=sign_token(server.jwt_secret, str(user_id(number)), number)
        )
        for number in range(USERS)
    ]
    measured = check(run_load(Load(server.host, server.port, requests, CONNECTIONS, seconds=seconds)))
    return Row("getUser", f"{measured.rate:,.0f}/s, p99 {measured.p99_ms:.1f} ms")


def sign_in_load(server: Server, seconds: float) -> Load:
    requests = [
        request(
            server,
            "POST",
            "/auth/v1/token?grant_type=password",
            {"email": f"user{number + 1}@example.com", "password": PASSWORD},
        )
        for number in range(USERS)
    ]
    return Load(server.host, server.port, requests, SIGN_IN_CONNECTIONS, seconds=seconds)


def read_load(server: Server, seconds: float) -> Load:
    token = sign_token(server.jwt_secret, str(user_id(0)), 0)
    target = "/rest/v1/articles?select=*&limit=20"
    return Load(server.host, server.port, [request(server, "GET", target, token=token)], seconds=seconds)


def bare_bcrypt_rate(seconds: float) -> float:
    """Verifications a second of as many threads as there are cores; bcrypt lets go of the interpreter's lock."""
    stored = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(DEFAULT_ROUNDS))
    ends_at = time.perf_counter() + seconds
    counts = []

    def verify() -> None:
        count = 0
        while time.perf_counter() < ends_at:
            bcrypt.checkpw(PASSWORD.encode(), stored)
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=verify) for _ in range(os.cpu_count() or 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def request(server: Server, method: str, target: str, body: object = None, token: str | None = None) -> str:
    content = "" if body is None else json.dumps(body)
    lines = [
        f"{method} {target} HTTP/1.1",
        f"Host: {server.host}:{server.port}",
        f"apikey: {server.anon_key}",
        f"Authorization: Bearer {token or server.anon_key}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    ]
    return "\r\n".join([*lines, "", content])


def check(measured: Measured) -> Measured:
    if not measured.is_clean:
        raise RuntimeError(f"the server failed: {measured.statuses} {measured.failures}")
    return measured


def render(rows: list[Row]) -> str:
    lines = ["| what | Basalt | reference | ratio | goal |", "| --- | --: | --: | --: | --: |"]
    lines += [f"| {row.title} | {row.figure} | {row.reference} | {row.ratio} | {row.goal} |" for row in rows]
    return "\n".join(lines)


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
