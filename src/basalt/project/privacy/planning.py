"""What an erasure does with each table: a list of steps, the farthest tables first, or why it cannot be done.

A rule of the settings counts most. Without one the foreign key says it: `on delete cascade` deletes, `set null` and
`set default` let go. A key that says neither would refuse the erasure in the end, so that it wants a rule. Rows that
are kept and still need their user keep the row in `auth.users`, emptied.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from basalt.config import PrivacyTableSettings
from basalt.errors import BasaltError
from basalt.project.privacy.references import USERS, Link, Reached

Action = Literal["delete", "unlink", "anonymise", "keep"]


@dataclass(frozen=True, slots=True)
class Step:
    """`unlink` empties the columns of its links; `anonymise` those of the rule too."""

    action: Action
    reached: Reached
    links: Sequence[Link]
    columns: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """`must_be_empty` are rows that would refuse the erasure, if there are any. While one of the tables in `holders`
    has rows of the user that stay, the row in `auth.users` stays, without anything personal."""

    steps: Sequence[Step]
    must_be_empty: Sequence[Step]
    holders: Set[str]


def plan_erasure(tables: Sequence[Reached], rules: Mapping[str, PrivacyTableSettings]) -> Plan:
    """Raises BasaltError where rules contradict each other or name a table that has nothing to do with users."""
    known = {each.table for each in tables} | {"storage.objects"}
    for name, rule in rules.items():
        if rule.on_erase and name not in known:
            raise _invalid(f"{name} does not refer to users; say by which columns in `user_columns`.")
    if USERS in rules and rules[USERS].on_erase:
        raise _invalid(
            "auth.users goes, or is emptied where rows that are kept refer to it; it takes no rule."
        )
    chosen = {name: rule.on_erase for name, rule in rules.items() if rule.on_erase}
    others = [each for each in tables if each.table != USERS]
    _check_parents(others, chosen)
    staying = {name for name, action in chosen.items() if action in ("keep", "anonymise")}
    holders = {each.table for each in others if _needs(each, USERS, chosen)}
    going = {each.table for each in tables if _goes(each, chosen, holders)}
    steps: list[Step] = []
    must_be_empty: list[Step] = []
    for each in sorted(others, key=lambda each: (-each.depth, each.table)):
        rule = rules.get(each.table, PrivacyTableSettings())
        match chosen.get(each.table):
            case "delete":
                steps.append(Step("delete", each, each.own_links))
            case "keep":
                steps.append(Step("keep", each, each.own_links))
            case "anonymise":
                loose = [link for link in each.links if link.key is None or link.key.is_nullable]
                columns = [*rule.columns, *(column for link in loose for column in link.loose_columns)]
                steps.append(Step("anonymise", each, each.own_links, list(dict.fromkeys(columns))))
            case _:
                _plan_by_keys(each, staying, going, steps, must_be_empty)
    return Plan(steps, must_be_empty, holders)


def _plan_by_keys(
    reached: Reached, staying: set[str], going: Set[str], steps: list[Step], must_be_empty: list[Step]
) -> None:
    """Direct links get a step of their own, for the row that they refer to may stay. What hangs on a belonging goes
    with it, by PostgreSQL, and so does what hangs on a user who goes and hinders nothing before: a trigger that keeps a
    log lets its rows go when their user is gone."""
    hinders = any(key.on_delete in ("no action", "restrict") for key in reached.keys)
    for link in reached.links:
        if link.key is None:
            raise _invalid(
                f"{reached.table} names users by {link.columns[0]} without a foreign key: say what an erasure does.",
                _hint(reached.table),
            )
        parent_goes = link.parent is not None and link.parent.table in going
        match link.key.on_delete:
            case "cascade" if parent_goes and not hinders:
                pass
            case "set null" | "set default" if parent_goes:
                pass
            case "cascade" if link.is_direct:
                steps.append(Step("delete", reached, [link]))
            case "set null" | "set default" if link.is_direct:
                steps.append(Step("unlink", reached, [link], link.loose_columns))
            case "no action" | "restrict" if link.is_direct or link.key.parent not in staying:
                must_be_empty.append(Step("keep", reached, [link]))
            case _:
                pass


def _goes(reached: Reached, chosen: Mapping[str, str], holders: Set[str]) -> bool:
    """Whether it is the user by whichever name, and the row goes."""
    if reached.table == USERS:
        return not holders
    is_cascaded = any(link.key is not None and link.key.on_delete == "cascade" for link in reached.links)
    return reached.is_user and is_cascaded and reached.table not in chosen


def _needs(reached: Reached, parent: str, chosen: Mapping[str, str]) -> bool:
    """Whether rows stay that cannot be without the row of `parent` that they refer to. What is kept is so whichever way
    it refers; what is anonymised lets go of its user, and goes with something else that it is a part of."""
    match chosen.get(reached.table):
        case "keep":
            return any(
                key.parent == parent and key.on_delete not in ("set null", "set default")
                for key in reached.keys
            )
        case "anonymise":
            return any(
                link.key is not None and link.key.parent == parent and not link.key.is_nullable
                for link in reached.links
            )
        case _:
            return False


def _check_parents(tables: Sequence[Reached], chosen: Mapping[str, str]) -> None:
    """Rows that stay must not hang on rows that go."""
    for each in tables:
        for parent in {key.parent for key in each.keys} - {USERS}:
            if _needs(each, parent, chosen) and chosen.get(parent) not in ("keep", "anonymise"):
                raise _invalid(
                    f"{each.table} is to stay and refers to {parent}, which would go: say what stays of it.",
                    f'[basalt.privacy.tables."{parent}"] on_erase = "anonymise", columns = […]',
                )


def _hint(table: str) -> str:
    return f'[basalt.privacy.tables."{table}"] on_erase = "delete", "anonymise" (with columns) or "keep"'


def _invalid(message: str, hint: str | None = None) -> BasaltError:
    return BasaltError("privacy_rule_invalid", 400, f"basalt.privacy: {message}", hint=hint)


def refuse_leftovers(found: Sequence[tuple[Step, int]]) -> BasaltError:
    """Rows that nobody has decided about."""
    lines = [
        f"{step.reached.table} ({', '.join(step.links[0].columns)}): {count} row{'' if count == 1 else 's'}"
        for step, count in found
    ]
    return BasaltError(
        "privacy_rule_missing",
        409,
        "Rows refer to the user and neither the foreign key nor a rule says what becomes of them: "
        + "; ".join(lines),
        hint=_hint(found[0][0].reached.table),
    )
