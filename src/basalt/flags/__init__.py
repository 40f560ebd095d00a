"""Feature flags: who has what, decided alike in the database and in memory.

Policies and clients ask the database (`postgres/bootstrap/flags`): `flags.enabled(name)`, `flags.mine`. Processes that
ask often have a `FlagBook`, which keeps all flags and hears of changes. `evaluation` is what a flag gives to whom;
`changes` are what the commands do; `open_feature` is a provider for the OpenFeature SDK, imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from basalt.flags.book import FlagBook
from basalt.flags.evaluation import Cohort, Decision, Flag, FlagCaller, Rule, Variant, bucket, decide

if TYPE_CHECKING:
    from basalt.flags.changes import (
        AuditRow,
        FlagError,
        FlagRow,
        delete_flag,
        ensure_cohort,
        ensure_flag,
        list_audit,
        list_flags,
        switch_flag,
        target_cohort,
    )
    from basalt.flags.open_feature import BasaltProvider

__all__ = [
    "AuditRow",
    "BasaltProvider",
    "Cohort",
    "Decision",
    "Flag",
    "FlagBook",
    "FlagCaller",
    "FlagError",
    "FlagRow",
    "Rule",
    "Variant",
    "bucket",
    "decide",
    "delete_flag",
    "ensure_cohort",
    "ensure_flag",
    "list_audit",
    "list_flags",
    "switch_flag",
    "target_cohort",
]

_LATE = {
    **dict.fromkeys(
        (
            "AuditRow",
            "FlagError",
            "FlagRow",
            "delete_flag",
            "ensure_cohort",
            "ensure_flag",
            "list_audit",
            "list_flags",
            "switch_flag",
            "target_cohort",
        ),
        "basalt.flags.changes",
    ),
    "BasaltProvider": "basalt.flags.open_feature",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(name)
    return getattr(import_module(_LATE[name]), name)
