"""The values of one look: from the database by statements, from the machine, and from the figures of this node's
processes."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg

from basalt import observe
from basalt.config import Settings
from basalt.project.alerts.rules import Rule

STATEMENT_LIMIT: Final = "set local statement_timeout = '10s'"

# By subject; `None` where the rule could not be measured, so that its alerts stay as they are.
Values = Mapping[str, float] | None


class DatabaseFigures:
    """The rules' statements in one look; what two rules have in common runs once."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self._rows: dict[str, Sequence[Mapping[str, Any]] | None] = {}

    async def measure(self, rule: Rule) -> Values:
        assert rule.statement is not None
        if rule.statement not in self._rows:
            self._rows[rule.statement] = await self._fetch(rule, rule.statement)
        rows = self._rows[rule.statement]
        if rows is None:
            return None
        return {row["subject"]: float(row[rule.column]) for row in rows if row[rule.column] is not None}

    async def _fetch(self, rule: Rule, statement: LiteralString) -> Sequence[Mapping[str, Any]] | None:
        """Within a savepoint: a rule that cannot be measured is not the others' affair."""
        try:
            async with self._connection.transaction():
                await self._connection.execute(STATEMENT_LIMIT)
                for name in rule.needs:
                    cursor = await self._connection.execute("select to_regclass(%s) as found", [name])
                    if (await cursor.fetchone() or {})["found"] is None:
                        return []
                return await (await self._connection.execute(statement)).fetchall()
        except psycopg.Error as error:
            if self._connection.closed:
                raise
            observe.event(
                "alert_not_measured", level="warning", rule=rule.name, reason=error.diag.message_primary
            )
            return None


def measure_disk(settings: Settings) -> Values:
    """The free share of each disk that the project writes to."""
    found: dict[int, tuple[str, float]] = {}
    for path in (settings.state_dir, _storage_folder(settings)):
        try:
            system, device = os.statvfs(path), path.stat().st_dev
        except OSError:
            continue
        if system.f_blocks:
            found.setdefault(device, (str(path), system.f_bavail / system.f_blocks))
    return dict(found.values())


def _storage_folder(settings: Settings) -> Path:
    path = settings.basalt.storage.path
    return settings.project_dir / path if path else settings.state_dir / "storage"


Totals = Mapping[tuple[str, str, str], Sequence[float]]


class RequestFigures:
    """Quantiles and failures of what was answered within the last minutes, by service, from figures that only grow. A
    process that began anew counts from there on."""

    WINDOW_S: Final = 300
    LEAST_REQUESTS: Final = 20
    MOST_LOOKS: Final = 30  # that are kept of a window

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looks: deque[tuple[float, Totals]] = deque()

    def look(self, by_process: Mapping[str, Iterable[observe.Family]]) -> Mapping[str, Values]:
        """By rule: `request_latency_p95`, `request_latency_p99`, `request_error_rate`. The first look, after the worker
        began, has nothing to compare with and measures nothing."""
        now = self._clock()
        totals, bounds = add_up(by_process)
        is_first = not self._looks
        while len(self._looks) > 1 and self._looks[1][0] <= now - self.WINDOW_S:
            self._looks.popleft()
        if is_first or now - self._looks[-1][0] >= self.WINDOW_S / self.MOST_LOOKS:
            self._looks.append((now, totals))
        return {} if is_first else self._judge(self._find_growth(totals), bounds)

    def _find_growth(self, totals: Totals) -> Mapping[tuple[str, str], Sequence[float]]:
        """By service and kind, over all processes."""
        grown: dict[tuple[str, str], list[float]] = {}
        for key, figures in totals.items():
            before = next((look[key] for _, look in self._looks if key in look), figures)
            if any(new < old for new, old in zip(figures, before, strict=True)):
                before = [0.0] * len(figures)
            total = grown.setdefault(key[1:], [0.0] * len(figures))
            for place, (new, old) in enumerate(zip(figures, before, strict=True)):
                total[place] += new - old
        return grown

    def _judge(
        self, grown: Mapping[tuple[str, str], Sequence[float]], bounds: Sequence[float]
    ) -> Mapping[str, Values]:
        p95: dict[str, float] = {}
        p99: dict[str, float] = {}
        errors: dict[str, float] = {}
        for (service, kind), figures in grown.items():
            if sum(figures) < self.LEAST_REQUESTS:
                continue
            if kind == "seconds":
                p95[service] = find_quantile(0.95, figures, bounds)
                p99[service] = find_quantile(0.99, figures, bounds)
            elif kind == "all":
                errors[service] = grown.get((service, "failed"), [0.0])[0] / figures[0]
        return {"request_latency_p95": p95, "request_latency_p99": p99, "request_error_rate": errors}


def add_up(by_process: Mapping[str, Iterable[observe.Family]]) -> tuple[Totals, Sequence[float]]:
    """What each process has answered since it began, by process, service and kind: `seconds` in buckets, `all`,
    `failed`; and the buckets' bounds. A socket is open for as long as its client wants: Realtime is left out."""
    totals: dict[tuple[str, str, str], list[float]] = {}
    bounds: Sequence[float] = ()

    def add(process: str, service: str, kind: str, figures: Sequence[float]) -> None:
        total = totals.setdefault((process, service, kind), [0.0] * len(figures))
        for place, figure in enumerate(figures):
            total[place] += figure

    for process, families in by_process.items():
        for family in families:
            if family.name not in ("basalt_http_request_seconds", "basalt_http_requests_total"):
                continue
            for sample in family.samples:
                labels = dict(zip(family.labels, sample.labels, strict=True))
                if labels["service"] == "realtime":
                    continue
                if family.kind == "histogram":
                    bounds = family.bounds
                    add(process, labels["service"], "seconds", sample.buckets)
                else:
                    failed = sample.value if labels["status"].startswith("5") else 0.0
                    add(process, labels["service"], "all", [sample.value])
                    add(process, labels["service"], "failed", [failed])
    return totals, bounds


def find_quantile(share: float, counts: Sequence[float], bounds: Sequence[float]) -> float:
    """Within its bucket by a straight line, as Prometheus does; beyond the last bound that bound.

    >>> find_quantile(0.5, [0, 10, 0], [1.0, 3.0]), find_quantile(0.99, [0, 0, 5], [1.0, 3.0])
    (2.0, 3.0)
    """
    wanted, seen, low = share * sum(counts), 0.0, 0.0
    for count, bound in zip(counts, bounds, strict=False):
        if seen + count >= wanted and count:
            return low + (bound - low) * (wanted - seen) / count
        seen, low = seen + count, bound
    return low
