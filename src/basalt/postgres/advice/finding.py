"""One thing that is wrong, in a form that a person, a script and the console can all use."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["error", "warning", "info"]
RANK: Final[dict[Severity, int]] = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`subject` is what it is about (`public.orders`, a setting); `what` a sentence about it; `why` is the same for all
    findings of a check; `remedy` is SQL or a setting, empty where only a person can tell. `schema` is empty for what
    is in none."""

    check: str
    severity: Severity
    subject: str
    what: str
    why: str
    remedy: str = ""
    schema: str = ""


def worst(findings: Iterable[Finding]) -> list[Finding]:
    """The findings with the worst ones first; those of one check stay together."""
    return sorted(findings, key=lambda each: (RANK[each.severity], each.check, each.subject))
