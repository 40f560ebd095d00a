"""`flags.definitions()` as values."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from basalt.flags.evaluation import Cohort, Flag, Rule, Variant


def read_definitions(tree: Mapping[str, Any]) -> dict[str, Flag]:
    """Flags by their names."""
    cohorts = {row["name"]: _read_cohort(row) for row in tree["cohorts"]}
    return {row["name"]: _read_flag(row, cohorts) for row in tree["flags"]}


def _read_cohort(row: Mapping[str, Any]) -> Cohort:
    return Cohort(row["name"], frozenset(row["user_ids"]), row["claims"])


def _read_flag(row: Mapping[str, Any], cohorts: Mapping[str, Cohort]) -> Flag:
    return Flag(
        row["name"],
        row["enabled"],
        rollout=_percentage(row["rollout"]),
        off_value=row["off_value"],
        variants=tuple(Variant(v["name"], v["value"], int(v["weight"])) for v in row["variants"]),
        rules=tuple(
            Rule(cohorts[rule["cohort_name"]], _percentage(rule["rollout"]), rule["variant"])
            for rule in row["rules"]
        ),
        starts_at=_instant(row["starts_at"]),
        ends_at=_instant(row["ends_at"]),
    )


def _percentage(value: float) -> Decimal:
    """Three decimal places, as the column has them."""
    return Decimal(str(value)).quantize(Decimal("0.001"))


def _instant(text: str | None) -> datetime | None:
    """PostgreSQL has instants that Python has not: those before year 1 and after year 9999, and infinity.

    >>> texts = ("2026-11-26T12:00:00+00:00", "infinity", "-infinity", "12026-01-01T00:00:00+00:00")
    >>> [_instant(text).year for text in texts]
    [2026, 9999, 1, 9999]
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        is_past = text.startswith("-") or text.endswith("BC")
        return (datetime.min if is_past else datetime.max).replace(tzinfo=UTC)
