"""`basalt lint`: what the migrations of a project made that is unsafe or slow, and the SQL that mends it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg

from basalt.errors import BasaltError
from basalt.postgres import (
    RANK,
    SCHEMA_CHECKS,
    UNUSED_INDEX,
    Finding,
    Severity,
    run_checks,
    worst,
)

CONNECT_LIMIT_S: Final = 10
LIST_SCHEMAS: Final = "select nspname from pg_catalog.pg_namespace"

MENDS_HEAD: Final = """\
-- What `basalt lint` proposes. Read it before it runs: some of it takes rights away, and making an index locks writes.
-- psql --set ON_ERROR_STOP=1 --file THIS_FILE "$DATABASE_URL"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LintReport:
    """`looked` is how many checks could look; `unseen` are those that could not, and why."""

    looked: int
    findings: Sequence[Finding]
    unseen: Sequence[tuple[str, str]]

    @property
    def has_errors(self) -> bool:
        return bool(self.unseen) or any(finding.severity == "error" for finding in self.findings)


def lint_database(
    conninfo: str, *, api_schemas: Sequence[str], level: Severity = "info", only: Collection[str] = ()
) -> LintReport:
    """`api_schemas` are those that REST serves; `only` are schemas whose findings are wanted, none is all; `level` is
    the least severity. Changes nothing. Raises BasaltError where the database does not answer or has no such schema."""
    findings: list[Finding] = []
    unseen: list[tuple[str, str]] = []
    looked = 0
    try:
        with psycopg.connect(
            conninfo, autocommit=True, application_name="basalt/lint", connect_timeout=CONNECT_LIMIT_S
        ) as connection:
            known = {row[0] for row in connection.execute(LIST_SCHEMAS)}
            if unknown := set(only) - known:
                raise BasaltError("schema_unknown", 400, f"There is no schema {', '.join(sorted(unknown))}.")
            for run in run_checks(connection, [*SCHEMA_CHECKS, UNUSED_INDEX], schemas=api_schemas):
                findings += run.findings
                looked += not run.unseen
                unseen += [(run.check.name, run.unseen)] if run.unseen else []
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]  # what follows is libpq's advice
        raise BasaltError("database_away", 503, f"The database does not answer: {reason}") from error
    except psycopg.ProgrammingError as error:  # its message has the password
        raise BasaltError("database_url_invalid", 400, "The database URL cannot be read.") from error
    wanted = [
        finding
        for finding in findings
        if RANK[finding.severity] <= RANK[level] and (not only or finding.schema in only)
    ]
    return LintReport(findings=worst(wanted), unseen=unseen, looked=looked)


def render_mends(findings: Sequence[Finding]) -> str:
    """One SQL script of all remedies, each once. Extensions move last: expressions name their routines by the schema
    that they were in."""
    parts = [MENDS_HEAD]
    told: set[str] = set()
    for finding in sorted(findings, key=lambda each: each.check == "extension_in_public"):
        # A name may hold a line's end, after which a comment would be a statement.
        sentence = " ".join(f"{finding.check}: {finding.subject} {finding.what}".split())
        mend = "-- That is for a person to decide." if not finding.remedy else finding.remedy
        parts.append(f"\n-- {finding.severity} {sentence}\n" + ("" if mend in told else f"{mend}\n"))
        told.add(finding.remedy)
    return "".join(parts)
