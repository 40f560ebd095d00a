"""People of the app, and what they do, on a connection of their own: the way a request does it."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import dict_row

from basalt.postgres import DatabaseAccess

Connection = psycopg.Connection[dict[str, Any]]

# The gig stands here; 50 m and 500 m north of it.
LAT, LNG = 3.1390, 101.6869
NEAR = LAT + 0.00045
FAR = LAT + 0.0045


@dataclass(frozen=True)
class App:
    """`admin` is the owner's connection; `acting_as` gives one that acts as a person, the way a request does."""

    access: DatabaseAccess
    admin: Connection
    idle: list[Connection] = field(default_factory=list)

    @contextmanager
    def acting_as(self, user_id: str | None, role: str | None = None) -> Iterator[Connection]:
        """One transaction as a user (None: nobody signed in) or as `service_role`."""
        chosen = role or ("authenticated" if user_id else "anon")
        claims = json.dumps({"role": chosen, **({"sub": user_id} if user_id else {})})
        try:
            connection = self.idle.pop()
        except IndexError:
            connection = psycopg.connect(
                self.access.conninfo("authenticator"), row_factory=dict_row, autocommit=True
            )
        try:
            with connection.transaction():
                connection.execute(
                    "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
                    [chosen, claims],
                )
                yield connection
        finally:  # logging in costs more than what most tests do
            self.idle.append(connection)

    def close(self) -> None:
        while self.idle:
            self.idle.pop().close()

    def call(self, user_id: str | None, routine: str, *, as_role: str | None = None, **arguments: Any) -> Any:
        """A routine called as a person; its value."""
        names = ", ".join(f"{name} => %({name})s" for name in arguments)
        with self.acting_as(user_id, as_role) as connection:
            row = connection.execute(f"select public.{routine}({names}) as value", arguments).fetchone()
        assert row is not None
        return row["value"]

    def a_user(self, *, employer: bool = False) -> str:
        user_id = str(uuid.uuid4())
        self.admin.execute(
            "insert into auth.users (id, aud, role, phone, phone_confirmed_at) "
            "values (%s, 'authenticated', 'authenticated', %s, now())",
            [user_id, str(int(uuid.UUID(user_id)))[:12]],
        )
        if employer:
            self.admin.execute("update public.users set role = 'employer' where id = %s", [user_id])
        return user_id

    def a_gig(self, employer_id: str | None = None, **values: Any) -> str:
        gig = {
            "employer_id": employer_id or self.a_user(employer=True), "title": "Waiter", "category": "food_service",
            "location": f"POINT({LNG} {LAT})", "hourly_rate": 12.5, "start_date": "2026-01-01",
            "end_date": "2036-01-01", "capacity": 5, "status": "open", "published_at": "2026-01-01", **values,
        }  # fmt: skip
        names = ", ".join(gig)
        marks = ", ".join(f"%({name})s" for name in gig)
        row = self.admin.execute(
            f"insert into public.gigs ({names}) values ({marks}) returning id", gig
        ).fetchone()
        assert row is not None
        return str(row["id"])

    def an_accepted_worker(self, gig_id: str) -> str:
        """A worker whose application the employer has accepted."""
        worker = self.a_user()
        application = self.call(worker, "apply_to_gig", p_gig_id=gig_id)["application_id"]
        owner = self.one("select employer_id from public.gigs where id = %s", gig_id)
        self.call(str(owner), "decide_application", p_application_id=application, p_decision="accepted")
        return worker

    def one(self, sql: str, *parameters: Any) -> Any:
        """The first value of a query by the owner."""
        row = self.admin.execute(sql, parameters).fetchone()
        return next(iter(row.values())) if row else None

    def balance(self, user_id: str) -> int:
        """The points of a user, after checking that the log adds up to them."""
        balance: int = self.one("select total_points from public.users where id = %s", user_id)
        logged = self.one(
            "select coalesce(sum(points), 0) from public.points_log where user_id = %s", user_id
        )
        assert balance == logged
        return balance


BLOCKED_SESSIONS = """
select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
"""


def wait_for_blocked_sessions(app: App, count: int = 1) -> None:
    """Until so many in this database wait for a lock."""
    deadline = time.monotonic() + 10
    with psycopg.connect(app.access.conninfo("postgres"), autocommit=True) as onlooker:
        while onlooker.execute(BLOCKED_SESSIONS).fetchone() != (count,):
            assert time.monotonic() < deadline
