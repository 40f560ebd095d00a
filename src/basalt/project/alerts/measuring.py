"""The values of one look: from the database by statements, from the machine, and from the figures of this node's
processes."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg

from basalt import observe
from basalt.config import Settings
from basalt.project.alerts.rules import Rule

STATEMENT_LIMIT: Final = "set local statement_timeout = '10s'"

UNREADABLE: Final = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.QueryCanceled,
    psycopg.errors.UndefinedColumn,
)

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
        """Within a savepoint: what one rule cannot read is not the others' affair."""
        try:
            async with self._connection.transaction():
                await self._connection.execute(STATEMENT_LIMIT)
                for name in rule.needs:
                    cursor = await self._connection.execute("select to_regclass(%s) as found", [name])
                    if (await cursor.fetchone() or {})["found"] is None:
                        return []
                return await (await self._connection.execute(statement)).fetchall()
        except UNREADABLE as error:
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


class RequestFigures:
    """Quantiles and failures of what was answered since the last look, by service, from figures that only
    grow. A process that began anew counts from there on."""

    LEAST_REQUESTS: Final = 20

    def __init__(self) -> None:
        self._before: dict[tuple[str, ...], tuple[float, ...]] = {}

    def look(self, by_process: Mapping[str, Iterable[observe.Family]]) -> Mapping[str, Values]:
        """By rule: `request_latency_p95`, `request_latency_p99`, `request_error_rate`."""
        grown: dict[tuple[str, str], list[float]] = {}
        bounds: Sequence[float] = ()
        now: dict[tuple[str, ...], tuple[float, ...]] = {}
        for process, families in by_process.items():
            for family in families:
                if family.name not in ("basalt_http_request_seconds", "basalt_http_requests_total"):
                    continue
                bounds = family.bounds if family.kind == "histogram" else bounds
                for sample in family.samples:
                    key = (process, family.name, *sample.labels)
                    figures = sample.buckets if family.kind == "histogram" else (sample.value,)
                    now[key] = figures
                    service = sample.labels[family.labels.index("service")]
                    kind = "seconds" if family.kind == "histogram" else "all"
                    self._add(grown, (service, kind), figures, self._before.get(key))
                    if kind == "all" and sample.labels[family.labels.index("status")].startswith("5"):
                        self._add(grown, (service, "failed"), figures, self._before.get(key))
        self._before = now
        return self._judge(grown, bounds)

    def _add(
        self,
        grown: dict[tuple[str, str], list[float]],
        key: tuple[str, str],
        figures: tuple[float, ...],
        before: tuple[float, ...] | None,
    ) -> None:
        if before is None or any(new < old for new, old in zip(figures, before, strict=True)):
            before = figures if before is None else tuple(0.0 for _ in figures)
        total = grown.setdefault(key, [0.0] * len(figures))
        for place, (new, old) in enumerate(zip(figures, before, strict=True)):
            total[place] += new - old

    def _judge(
        self, grown: Mapping[tuple[str, str], list[float]], bounds: Sequence[float]
    ) -> Mapping[str, Values]:
        p95: dict[str, float] = {}
        p99: dict[str, float] = {}
        errors: dict[str, float] = {}
        for (service, kind), figures in grown.items():
            if sum(figures) < self.LEAST_REQUESTS or kind == "failed" or service == "realtime":
                continue
            if kind == "seconds":
                p95[service] = find_quantile(0.95, figures, bounds)
                p99[service] = find_quantile(0.99, figures, bounds)
            else:
                errors[service] = sum(grown.get((service, "failed"), [0.0])) / figures[0]
        return {"request_latency_p95": p95, "request_latency_p99": p99, "request_error_rate": errors}


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
