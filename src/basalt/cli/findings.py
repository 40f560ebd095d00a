"""Findings of the doctor and of lint, for people."""

import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from basalt.postgres import Finding

WORDS = {"error": "error", "warning": "warning", "info": "remark"}
COLOURS = {"error": "bold red", "warning": "yellow", "info": "dim"}


def print_findings(findings: "Sequence[Finding]", unseen: Iterable[tuple[str, str]], looked: int) -> None:
    """`looked` is how many checks could look; `unseen` are those that could not, and why."""
    console = Console(highlight=False, soft_wrap=True, no_color="NO_COLOR" in os.environ)
    told = ""
    for finding in findings:
        if finding.check != told:
            told = finding.check
            console.print(
                f"\n[{COLOURS[finding.severity]}]{finding.severity}[/] [bold]{told}[/]  {plain(finding.why)}"
            )
        console.print(f"  {plain(finding.subject)} {plain(finding.what)}.")
        for line in finding.remedy.splitlines():
            console.print(f"    [dim]→ {plain(line)}[/]")
    for what, reason in unseen:
        console.print(f"\n[yellow]not seen[/] {plain(what)}: {plain(reason)}")
    console.print(f"\n{_summarise([finding.severity for finding in findings], looked)}")


def _summarise(severities: Sequence[str], looked: int) -> str:
    """
    >>> _summarise(["error", "info", "info"], 50)
    '50 checks: 1 error, 0 warnings, 2 remarks.'
    """
    counts = [(severities.count(severity), word) for severity, word in WORDS.items()]
    told = ", ".join(f"{count} {word}" if count == 1 else f"{count} {word}s" for count, word in counts)
    return f"{looked} checks: {told}."


def plain(text: str) -> str:
    r"""Without markup, and without what a terminal obeys: names in a database are anybody's.

    >>> plain("a[b]" + chr(27) + "c")
    'a\\[b]\\x1bc'
    """
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text)
    return text.replace("[", "\\[")
