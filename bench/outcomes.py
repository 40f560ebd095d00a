"""What was measured, set against its references and goals, as a table."""

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import assert_never

from bench.load import Measured
from bench.pgbench import Reference
from bench.scenarios import Figure, Goal, Scenario

RESULTS = Path(__file__).with_name("RESULTS.md")
HEADINGS = (
    "request",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "pgbench/s",
    "× pgbench",
    "lite/s",
    "× lite",
    "goals",
)


@dataclass(frozen=True)
class Outcome:
    """`plain` and `lite` are None where they were not measured."""

    scenario: Scenario
    basalt: Measured
    pgbench: Reference
    plain: Measured | None = None
    beside: Measured | None = None
    lite: Measured | None = None

    @property
    def lite_rate(self) -> float | None:
        return self.lite.rate if self.lite is not None and self.lite.is_clean else None


def render_table(outcomes: list[Outcome]) -> str:
    """Markdown; under a scenario with a plain measurement a second row with that."""
    lines = [_render_row(HEADINGS), "|---|--:|--:|--:|--:|--:|--:|--:|---|"]
    failures = []
    for outcome in outcomes:
        lines.append(_render_row(_cells(outcome)))
        if outcome.plain is not None:
            plain = (f"– {outcome.scenario.plain}", *_measured_cells(outcome.plain))
            lines.append(_render_row(plain + ("",) * (len(HEADINGS) - len(plain))))
        failures += _list_failures(outcome)
    return "\n".join([*lines, *failures])


def _render_row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(outcome: Outcome) -> tuple[str, ...]:
    lite = outcome.lite_rate
    return (
        outcome.scenario.title,
        *_measured_cells(outcome.basalt),
        f"{outcome.pgbench.rate:,.0f}",
        f"{outcome.basalt.rate / outcome.pgbench.rate:.2f}",
        f"{lite:,.0f}" if lite else "–",
        f"{outcome.basalt.rate / lite:.1f}" if lite else "–",
        ", ".join(verdict for goal in outcome.scenario.goals if (verdict := render_verdict(goal, outcome))),
    )


def _measured_cells(measured: Measured) -> tuple[str, ...]:
    return f"{measured.rate:,.0f}", f"{measured.p50_ms:.2f}", f"{measured.p99_ms:.2f}"


def _list_failures(outcome: Outcome) -> list[str]:
    measured = {
        "Basalt": outcome.basalt,
        "the plain load": outcome.plain,
        "the load beside": outcome.beside,
        "lite": outcome.lite,
    }
    return [
        f"\n{outcome.scenario.title}: {who} failed: {one.statuses} {one.failures[:1]}"
        for who, one in measured.items()
        if one is not None and not one.is_clean
    ]


def render_verdict(goal: Goal, outcome: Outcome) -> str | None:
    """One goal and whether it was met; None where its reference was not measured. Refused requests meet none."""
    if not all(one.is_clean for one in (outcome.basalt, outcome.plain, outcome.beside) if one is not None):
        return f"{goal.figure}: FAILED"
    if goal.figure == "rate" and outcome.pgbench.rate < goal.bound:
        return f"{goal.figure} ≥ {goal.bound:,g}: out of reach here, pgbench does {outcome.pgbench.rate:,.0f}"
    value = compute_figure(goal.figure, outcome)
    if value is None:
        return None
    sign = "≤" if goal.is_at_most else "≥"
    is_met = value <= goal.bound if goal.is_at_most else value >= goal.bound
    exact = "" if goal.figure == "rate" else f" ({value:.2f})"
    return f"{goal.figure} {sign} {goal.bound:,g} {'met' if is_met else 'MISSED'}{exact}"


def compute_figure(figure: Figure, outcome: Outcome) -> float | None:
    basalt = outcome.basalt
    match figure:
        case "rate":
            return basalt.rate
        case "rate / pgbench":
            return basalt.rate / outcome.pgbench.rate
        case "rate / lite":
            return basalt.rate / outcome.lite_rate if outcome.lite_rate else None
        case "rate / plain":
            return basalt.rate / outcome.plain.rate if outcome.plain is not None else None
        case "p99 / p50":
            return basalt.p99_ms / basalt.p50_ms
        case "p99 / plain":
            return basalt.p99_ms / outcome.plain.p99_ms if outcome.plain is not None else None
        case _:
            assert_never(figure)


def record_results(table: str, connections: int, seconds: float) -> None:
    record_table(f"REST, {connections} connections, {seconds:g} s each", table)


def record_table(title: str, table: str) -> None:
    """Append the table to the results, with the date and the machine."""
    when = datetime.now(UTC).date().isoformat()
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    heading = f"## {when}: {title} ({machine})"
    with RESULTS.open("a") as file:
        file.write(f"\n{heading}\n\n{table}\n")
