"""Runs the checks that were asked for, over settings and, where it can be reached, the database. What becomes of one is
not the others' affair."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.postgres import (
    SCHEMA_CHECKS,
    USAGE_CHECKS,
    DatabaseAccess,
    Finding,
    SqlCheck,
    run_checks,
    worst,
)
from basalt.project.doctor.configuration import CONFIG_CHECKS
from basalt.project.doctor.engine_room import ENGINE_CHECKS
from basalt.project.doctor.exposure import EXPOSURE_CHECKS
from basalt.project.doctor.machine import DISK_CHECK, judge_clock, measure_skew_s
from basalt.project.doctor.replication import REPLICATION_CHECKS
from basalt.project.doctor.secrets import SECRET_CHECKS
from basalt.project.doctor.server import SERVER_CHECKS
from basalt.project.doctor.sessions import SESSION_CHECKS
from basalt.project.doctor.setting_check import SettingCheck, check_settings

CONNECT_LIMIT_S: Final = 10
CLOCK: Final = "clock"
CLOCK_WHY: Final = (
    "Tokens count as expired or not yet valid, and schedules run at other times than the log says."
)

SETTING_CHECKS: Final[Sequence[SettingCheck]] = (*SECRET_CHECKS, *EXPOSURE_CHECKS, *CONFIG_CHECKS, DISK_CHECK)
DATABASE_CHECKS: Final[Sequence[SqlCheck]] = (
    *SESSION_CHECKS,
    *REPLICATION_CHECKS,
    *SERVER_CHECKS,
    *ENGINE_CHECKS,
    *SCHEMA_CHECKS,
    *USAGE_CHECKS,
)

MAY_SEE: Final = "select pg_has_role(current_user, 'pg_read_all_stats', 'usage')"


@dataclass(frozen=True, slots=True)
class Unseen:
    """Something that could not be looked at, and why."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """`findings` are the worst first; `looked` names the checks that could look."""

    findings: Sequence[Finding]
    looked: Sequence[str]
    unseen: Sequence[Unseen]

    @property
    def has_errors(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)


def check_names() -> dict[str, list[str]]:
    """Every check's name, by its group."""
    groups: dict[str, list[str]] = {}
    for group, name in _all_checks():
        groups.setdefault(group, []).append(name)
    return groups


def _all_checks() -> Iterator[tuple[str, str]]:
    yield from ((check.group, check.name) for check in SETTING_CHECKS)
    yield from ((check.group, check.name) for check in DATABASE_CHECKS)
    yield "server", CLOCK


def examine(
    settings: Settings, access: DatabaseAccess | None, *, only: Collection[str] = (), why_without: str = ""
) -> Examination:
    """`only` are names of checks or of their groups; none is all. Without `access` the settings alone are looked at,
    and `why_without` says why. Nothing is changed. Raises BasaltError for a name that is none."""
    wanted = _choose(only)
    seen = _Seen()
    for setting_check in SETTING_CHECKS:
        if setting_check.name in wanted:
            _look_at_settings(settings, setting_check, seen)
    checks = [check for check in DATABASE_CHECKS if check.name in wanted]
    if (checks or CLOCK in wanted) and access is None:
        seen.unseen.append(Unseen("the database", why_without))
    elif access is not None and (checks or CLOCK in wanted):
        try:
            _look_at_database(settings, access, checks, seen, has_clock=CLOCK in wanted)
        except psycopg.OperationalError as error:
            seen.findings.append(_away(access, error))
            if names := [check.name for check in checks if check.name not in seen.told]:
                seen.unseen.append(Unseen(", ".join(names), "the database was away"))
    return Examination(findings=worst(seen.findings), looked=seen.looked, unseen=seen.unseen)


@dataclass(frozen=True, slots=True)
class _Seen:
    findings: list[Finding] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    unseen: list[Unseen] = field(default_factory=list)

    @property
    def told(self) -> set[str]:
        return {*self.looked, *(each.what for each in self.unseen)}


def _look_at_settings(settings: Settings, check: SettingCheck, seen: _Seen) -> None:
    try:
        seen.findings.extend(check_settings(settings, check))
    except (OSError, ValueError) as error:  # a file that may not be read, an address that is none
        seen.unseen.append(Unseen(check.name, str(error)))
    else:
        seen.looked.append(check.name)


def _look_at_database(
    settings: Settings, access: DatabaseAccess, checks: Sequence[SqlCheck], seen: _Seen, *, has_clock: bool
) -> None:
    """Raises psycopg.OperationalError when it cannot be reached, or not any more."""
    with _connect(access) as connection:
        seen.unseen.extend(_find_hidden(connection))
        if has_clock:
            seen.findings.extend(_check_clock(connection))
            seen.looked.append(CLOCK)
        for run in run_checks(connection, checks, schemas=settings.basalt.rest.db_schemas):
            seen.findings.extend(run.findings)
            if run.unseen:
                seen.unseen.append(Unseen(run.check.name, run.unseen))
            else:
                seen.looked.append(run.check.name)


def _choose(only: Collection[str]) -> set[str]:
    groups = check_names()
    names = {name for members in groups.values() for name in members}
    wanted = {name for part in only for name in groups.get(part, [part])}
    if unknown := wanted - names:
        raise BasaltError(
            "check_unknown",
            400,
            f"There is no check {', '.join(sorted(unknown))}.",
            hint=f"Groups: {', '.join(sorted(groups))}; `basalt doctor --list` shows all checks.",
        )
    return wanted or names


def _connect(access: DatabaseAccess) -> psycopg.Connection[Any]:
    return psycopg.connect(
        access.conninfo("supabase_admin"),
        autocommit=True,
        application_name="basalt/doctor",
        connect_timeout=CONNECT_LIMIT_S,
    )


def _find_hidden(connection: psycopg.Connection[Any]) -> Iterator[Unseen]:
    """What a role without a superuser's rights is not shown, and is not told that it is not."""
    role = connection.info.user
    if connection.execute(MAY_SEE).fetchone() != (True,):
        grant = f'grant pg_monitor to "{role}";'
        yield Unseen("what sessions of other roles do", f"role {role} is not in pg_monitor: {grant}")


def _check_clock(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    skew_s = measure_skew_s(connection)
    if severity := judge_clock(skew_s):
        yield Finding(
            check=CLOCK,
            severity=severity,
            subject="clock",
            what=f"of the database is {abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} this machine's",
            why=CLOCK_WHY,
            remedy="run a time service (chrony, systemd-timesyncd) on both",
        )


def _away(access: DatabaseAccess, error: psycopg.OperationalError) -> Finding:
    return Finding(
        check="database_reachable",
        severity="error",
        subject=f"{access.host}:{access.port}/{access.dbname}",
        what=f"cannot be reached: {str(error).strip().splitlines()[0]}",
        why="Nothing works without it.",
        remedy="see whether it runs, and what its log says",
    )
