"""The part of the worker that looks: one worker at a time, by a lock that its connection holds."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from basalt import observe
from basalt.config import Settings
from basalt.postgres import DatabaseAccess
from basalt.project.alerts.decision import Move, Standing, decide
from basalt.project.alerts.measuring import DatabaseFigures, RequestFigures, Values, measure_disk
from basalt.project.alerts.rules import RULES, Rule
from basalt.project.alerts.telling import News, bundle, log, render_summary, tell
from basalt.waiting import wait_within

LOCK_KEY: Final = 0x616C_6572_7473  # "alerts"
CONNECT_LIMIT_S: Final = 10
REST: Final = 10  # times as long as a look took, so that looking at millions of jobs is no burden
LONGEST_REST_S: Final = 120  # a database that is slow for everybody is when alerts matter

TAKE_LOCK: Final = "select pg_try_advisory_lock(%s) as has"
LOAD_OPEN: Final = """
select id, rule, subject, state, value, pending_since, clear_since from basalt.alerts where state <> 'resolved'
"""
BEGIN: Final = """
insert into basalt.alerts (rule, subject, severity, state, value, threshold, summary, pending_since)
values (%(rule)s, %(subject)s, %(severity)s, 'pending', %(value)s, %(threshold)s, %(summary)s, %(now)s)
returning id
"""
MOVES: Final[Mapping[Move, str]] = {
    "fire": "update basalt.alerts set state = 'firing', fired_at = %(now)s, value = %(value)s, "
    "threshold = %(threshold)s, summary = %(summary)s where id = %(id)s",
    "stay": "update basalt.alerts set value = %(value)s, threshold = %(threshold)s, summary = %(summary)s "
    "where id = %(id)s",
    "forget": "delete from basalt.alerts where id = %(id)s",
    "calm": "update basalt.alerts set clear_since = %(now)s where id = %(id)s",
    "relapse": "update basalt.alerts set clear_since = null where id = %(id)s",
    "resolve": "update basalt.alerts set state = 'resolved', resolved_at = %(now)s where id = %(id)s",
}
CLEAR: Final = """
delete from basalt.alerts where state = 'resolved' and resolved_at < now() - make_interval(secs => %s)
"""

VALUE = observe.Gauge("basalt_alert_value", "What the rules of alerts measured last.", ("rule", "subject"))
FIRING = observe.Gauge("basalt_alerts_firing", "Alerts that are firing.", ("rule", "severity"))


class AlertWatch:
    """A part of the worker."""

    name = "alerts"

    def __init__(
        self,
        settings: Settings,
        access: DatabaseAccess,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._alerts = settings.basalt.alerts
        self._access = access
        self._now = now
        self._requests = RequestFigures()

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                async with self._take_turn() as connection:
                    while connection is not None and not stopping.is_set():
                        started = time.monotonic()
                        await self.look(connection)
                        took_s = time.monotonic() - started
                        await wait_within(stopping, choose_pause_s(self._alerts.interval_s, took_s))
            except psycopg.OperationalError as error:
                observe.event("alerts_database_away", level="warning", reason=str(error))
            VALUE.clear()
            FIRING.clear()
            await wait_within(stopping, self._alerts.interval_s)

    @asynccontextmanager
    async def _take_turn(self) -> AsyncIterator[psycopg.AsyncConnection[Any] | None]:
        """A connection that holds the lock; None while another worker looks."""
        async with await psycopg.AsyncConnection.connect(
            self._access.conninfo("supabase_admin"),
            autocommit=True,
            application_name="basalt/alerts",
            connect_timeout=CONNECT_LIMIT_S,
            row_factory=dict_row,
        ) as connection:
            cursor = await connection.execute(TAKE_LOCK, [LOCK_KEY])
            yield connection if (await cursor.fetchone() or {})["has"] else None

    async def look(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Measure, decide, write down and tell; all of it or nothing."""
        measured = await self._measure_here()
        news: list[News] = []
        async with connection.transaction():
            figures = DatabaseFigures(connection)
            for rule in RULES:
                if not rule.is_enabled(self._alerts):
                    measured[rule.name] = {}  # what it was told of ends
                elif rule.statement is not None:
                    measured[rule.name] = await figures.measure(rule)
            cursor = await connection.execute(LOAD_OPEN)
            known = {(row["rule"], row["subject"]): row for row in await cursor.fetchall()}
            for rule in RULES:
                values = measured.get(rule.name)
                if values is not None:
                    news += await self._judge(connection, rule, values, known)
            news = list(bundle(news))
            for each in news:
                await tell(connection, self._settings, each)
            if self._alerts.keep_s:
                await connection.execute(CLEAR, [self._alerts.keep_s])
        for each in news:
            log(each)
        await self._show(connection, measured)

    async def _measure_here(self) -> dict[str, Values]:
        gathered = await observe.gather(self._settings.state_dir)
        return {"disk_free": measure_disk(self._settings), **self._requests.look(gathered)}

    async def _judge(
        self,
        connection: psycopg.AsyncConnection[Any],
        rule: Rule,
        values: Mapping[str, float],
        known: Mapping[tuple[str, str], Mapping[str, Any]],
    ) -> list[News]:
        """A subject that is not measured any more is well; what it was last stands in the message."""
        threshold, for_s = rule.configured(self._alerts)
        now = self._now()
        news: list[News] = []
        subjects = {*values, *(subject for name, subject in known if name == rule.name)}
        for subject in sorted(subjects):
            row = known.get((rule.name, subject))
            value = values.get(subject, row["value"] if row else 0.0)
            standing = Standing(row["state"], row["pending_since"], row["clear_since"]) if row else None
            is_wrong = subject in values and rule.is_wrong(value, threshold)
            facts: dict[str, Any] = {
                "id": row["id"] if row else None,
                "rule": rule.name,
                "subject": subject,
                "severity": rule.severity,
                "value": value,
                "threshold": threshold,
                "summary": render_summary(rule, subject, value, threshold),
                "now": now,
            }
            for move in decide(standing, is_wrong=is_wrong, now=now, lasting=timedelta(seconds=for_s)):
                if move == "begin":
                    cursor = await connection.execute(BEGIN, facts)
                    facts["id"] = (await cursor.fetchone() or {})["id"]
                    continue
                await connection.execute(MOVES[move], facts)
                if move in ("fire", "resolve"):
                    news.append(
                        News(
                            id=facts["id"],
                            rule=rule,
                            subject=subject,
                            state="firing" if move == "fire" else "resolved",
                            value=value,
                            threshold=threshold,
                            at=now,
                        )
                    )
        return news

    async def _show(self, connection: psycopg.AsyncConnection[Any], measured: Mapping[str, Values]) -> None:
        """As metrics: what was measured, and how many alerts are firing."""
        VALUE.clear()
        FIRING.clear()
        for rule in RULES:
            FIRING.set(0, rule.name, rule.severity)
            for subject, value in (measured.get(rule.name) or {}).items():
                VALUE.set(value, rule.name, subject)
        cursor = await connection.execute(
            "select rule, severity, count(*) as count from basalt.alerts where state = 'firing' group by rule, severity"
        )
        for row in await cursor.fetchall():
            FIRING.set(row["count"], row["rule"], row["severity"])


def choose_pause_s(interval_s: float, took_s: float) -> float:
    """
    >>> choose_pause_s(20, 0.1), choose_pause_s(20, 5), choose_pause_s(20, 100), choose_pause_s(600, 100)
    (20, 50, 120, 600)
    """
    return max(interval_s, min(REST * took_s, LONGEST_REST_S))
