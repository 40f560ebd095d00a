"""Advice about a database: what is wrong with its schema or its use, why that matters, and the SQL that mends it.

A check is a statement whose rows are findings (`SqlCheck`): a new one is one constant and one line in a table.
`SCHEMA_CHECKS` look at what migrations made and hold on an empty database too; their remedies are SQL that runs as it
stands, after which the finding is gone, and those for one policy agree with each other. `USAGE_CHECKS` look at how a
database has been used since. Names follow those of Supabase's database advisors where the check is the same.
"""

from collections.abc import Sequence

from basalt.postgres.advice.finding import RANK, Finding, Severity, worst
from basalt.postgres.advice.indexes import INDEX_CHECKS
from basalt.postgres.advice.policies import POLICY_CHECKS
from basalt.postgres.advice.routines import ROUTINE_CHECKS
from basalt.postgres.advice.security import SECURITY_CHECKS
from basalt.postgres.advice.sql_check import CheckRun, SqlCheck, run_checks
from basalt.postgres.advice.usage import UNUSED_INDEX, USAGE_CHECKS

SCHEMA_CHECKS: Sequence[SqlCheck] = (*SECURITY_CHECKS, *ROUTINE_CHECKS, *POLICY_CHECKS, *INDEX_CHECKS)

__all__ = [
    "RANK",
    "SCHEMA_CHECKS",
    "UNUSED_INDEX",
    "USAGE_CHECKS",
    "CheckRun",
    "Finding",
    "Severity",
    "SqlCheck",
    "run_checks",
    "worst",
]
