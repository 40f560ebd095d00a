"""What the commands do to flags, each in one transaction that names who did it for the audit."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess

NAME_ACTOR: Final = "select set_config('basalt.actor', %(actor)s, true)"


class FlagError(BasaltError):
    """A flag that is not there, or a change that it does not take."""


@dataclass(frozen=True)
class FlagRow:
    name: str
    enabled: bool
    rollout: float
    off_value: Any
    variants: list[dict[str, Any]]
    rules: list[dict[str, Any]]
    is_public: bool
    starts_at: datetime | None
    ends_at: datetime | None
    description: str


@dataclass(frozen=True)
class AuditRow:
    changed_at: datetime
    changed_by: str
    role: str
    request_id: str | None
    subject: str
    name: str
    action: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


LIST_FLAGS: Final = """
select f.name, f.enabled, f.rollout::float8 as rollout, f.off_value, f.variants, f.is_public, f.starts_at, f.ends_at,
    f.description, (
        select coalesce(jsonb_agg(jsonb_build_object(
            'position', r.position, 'cohort', r.cohort_name, 'rollout', r.rollout, 'variant', r.variant)
            order by r.position), '[]')
        from flags.rules as r where r.flag_name = f.name) as rules
from flags.flags as f
order by f.name
"""


def list_flags(access: DatabaseAccess) -> list[FlagRow]:
    with _connect(access) as connection, connection.cursor(row_factory=class_row(FlagRow)) as cursor:
        return cursor.execute(LIST_FLAGS).fetchall()


LIST_AUDIT: Final = """
select changed_at, changed_by, role, request_id, subject, name, action, before, after
from flags.audit
where %(name)s::text is null or name = %(name)s
order by id desc
limit %(limit)s
"""


def list_audit(access: DatabaseAccess, name: str | None = None, *, limit: int = 20) -> list[AuditRow]:
    """The newest changes, of one flag or cohort or all."""
    with _connect(access) as connection, connection.cursor(row_factory=class_row(AuditRow)) as cursor:
        return cursor.execute(LIST_AUDIT, {"name": name, "limit": limit}).fetchall()


# What is not given stays as it is, and has its default in a new flag.
ENSURE_FLAG: Final = """
insert into flags.flags (name) values (%(name)s) on conflict (name) do nothing
"""
UPDATE_FLAG: Final = """
update flags.flags
set description = coalesce(%(description)s, description),
    off_value = coalesce(%(off_value)s, off_value),
    variants = coalesce(%(variants)s, variants),
    is_public = coalesce(%(is_public)s, is_public),
    starts_at = coalesce(%(starts_at)s, starts_at),
    ends_at = coalesce(%(ends_at)s, ends_at)
where name = %(name)s
"""


def ensure_flag(
    access: DatabaseAccess,
    name: str,
    *,
    actor: str,
    description: str | None = None,
    off_value: Any = None,
    variants: Sequence[Mapping[str, Any]] | None = None,
    is_public: bool | None = None,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
) -> None:
    """Make a flag, which is off, or change what is given of one. Raises FlagError flag_invalid."""
    changes = {
        "name": name,
        "description": description,
        "off_value": None if off_value is None else Jsonb(off_value),
        "variants": None if variants is None else Jsonb(list(variants)),
        "is_public": is_public,
        "starts_at": starts_at,
        "ends_at": ends_at,
    }
    with _change(access, actor) as connection:
        connection.execute(ENSURE_FLAG, changes)
        connection.execute(UPDATE_FLAG, changes)


SWITCH: Final = """
update flags.flags set enabled = coalesce(%(enabled)s, enabled), rollout = coalesce(%(rollout)s, rollout)
where name = %(name)s returning enabled
"""


def switch_flag(
    access: DatabaseAccess,
    name: str,
    *,
    actor: str,
    enabled: bool | None = None,
    rollout: float | None = None,
) -> bool:
    """Turn a flag on or off, or give it another percentage; whether it is on. Raises FlagError flag_not_found,
    flag_invalid."""
    with _change(access, actor) as connection:
        row = connection.execute(SWITCH, {"name": name, "enabled": enabled, "rollout": rollout}).fetchone()
    if row is None:
        raise _unknown(name)
    return bool(row[0])


DELETE: Final = "delete from flags.flags where name = %(name)s returning name"


def delete_flag(access: DatabaseAccess, name: str, *, actor: str) -> None:
    """Its audit stays. Raises FlagError flag_not_found."""
    with _change(access, actor) as connection:
        row = connection.execute(DELETE, {"name": name}).fetchone()
    if row is None:
        raise _unknown(name)


ENSURE_COHORT: Final = """
insert into flags.cohorts as c (name, user_ids, claims)
values (%(name)s, %(added)s::text[], %(claims)s)
on conflict (name) do update set claims = coalesce(excluded.claims, c.claims), user_ids = (
    select coalesce(array_agg(distinct u order by u), '{}')
    from unnest(c.user_ids || %(added)s::text[]) as u
    where u <> all (%(removed)s::text[]))
"""


def ensure_cohort(
    access: DatabaseAccess,
    name: str,
    *,
    actor: str,
    added: Sequence[str] = (),
    removed: Sequence[str] = (),
    claims: Mapping[str, Any] | None = None,
) -> None:
    """Make a cohort, or add and remove users and change its claims. Raises FlagError flag_invalid."""
    parameters = {
        "name": name,
        "added": list(added),
        "removed": list(removed),
        "claims": None if claims is None else Jsonb(dict(claims)),
    }
    with _change(access, actor) as connection:
        connection.execute(ENSURE_COHORT, parameters)


TARGET: Final = """
insert into flags.rules (flag_name, position, cohort_name, rollout, variant)
values (%(name)s, %(position)s, %(cohort)s, %(rollout)s, %(variant)s)
on conflict (flag_name, position) do update
set cohort_name = excluded.cohort_name, rollout = excluded.rollout, variant = excluded.variant
"""
UNTARGET: Final = "delete from flags.rules where flag_name = %(name)s and cohort_name = %(cohort)s"
NEXT_POSITION: Final = """
select coalesce(min(position) filter (where cohort_name = %(cohort)s), max(position) + 1, 1)
from flags.rules where flag_name = %(name)s
"""


def target_cohort(
    access: DatabaseAccess,
    name: str,
    cohort: str,
    *,
    actor: str,
    rollout: float | None = 100,
    variant: str | None = None,
) -> None:
    """Let a flag decide about a cohort: a rule behind the others, or in the place of the cohort's own; without
    `rollout` its rules go. Raises FlagError flag_not_found, flag_invalid."""
    parameters = {"name": name, "cohort": cohort, "rollout": rollout, "variant": variant}
    with _change(access, actor) as connection:
        found = connection.execute("select variants from flags.flags where name = %(name)s", parameters)
        row = found.fetchone()
        if row is None:
            raise _unknown(name)
        if variant is not None and variant not in [one["name"] for one in row[0]]:
            raise FlagError("flag_invalid", 400, f"The flag {name} has no variant {variant}")
        if rollout is None:
            connection.execute(UNTARGET, parameters)
            return
        [position] = connection.execute(NEXT_POSITION, parameters).fetchone() or [1]
        connection.execute(TARGET, {**parameters, "position": position})


@contextmanager
def _change(access: DatabaseAccess, actor: str) -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    """Raises FlagError flag_invalid for what the tables do not take."""
    try:
        with _connect(access) as connection:
            connection.execute(NAME_ACTOR, {"actor": actor})
            yield connection
    except (psycopg.IntegrityError, psycopg.DataError) as exc:
        raise FlagError("flag_invalid", 400, _reason(exc)) from exc


def _reason(error: psycopg.Error) -> str:
    match error.diag.constraint_name:
        case "flags_name_check" | "cohorts_name_check":
            return "A name has up to 100 letters, digits, dots, dashes and underscores"
        case "flags_variants_check":
            return "Variants have names of their own, values of one type with the value of off, and a weight"
        case "flags_schedule_check":
            return "A flag starts before it ends"
        case "flags_rollout_check" | "rules_rollout_check":
            return "A percentage is from 0 to 100"
        case "rules_cohort_name_fkey":
            return "There is no cohort of that name"
        case _:
            return error.diag.message_primary or "The change cannot be stored"


def _connect(access: DatabaseAccess) -> "psycopg.Connection[tuple[Any, ...]]":
    return psycopg.connect(access.conninfo("supabase_admin"), application_name="basalt flags")


def _unknown(name: str) -> FlagError:
    return FlagError("flag_not_found", 404, f"There is no flag {name}", hint="`basalt flags list` shows them")
