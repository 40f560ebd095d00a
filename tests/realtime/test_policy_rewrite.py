"""Policies, as PostgreSQL prints them, rewritten over a relation of claims; and what is left alone."""

import pytest

from basalt.realtime.changes.policies.arms import NotRewritable
from basalt.realtime.changes.policies.rewrite import rewrite_policies
from basalt.realtime.changes.policies.rules import Policy, TableRules

ROUTINES = frozenset({"uid", "jwt", "role", "email"})
UID = '"claims of a subscriber".uid'


def rules(
    oid: int, name: str, *conditions: str, restrictive: tuple[str, ...] = (), **facts: bool
) -> TableRules:
    policies = [
        Policy(text not in restrictive, text, frozenset(), False) for text in (*conditions, *restrictive)
    ]
    known = {"is_table": True, "is_filtered": True, "is_selectable": True} | facts
    return TableRules(oid, "public", name, policies=tuple(policies), **known)


def rewrite(table: TableRules, *others: TableRules, routines: frozenset[str] = ROUTINES) -> tuple[str, ...]:
    return rewrite_policies(table, {(one.schema, one.name): one for one in (table, *others)}, routines).arms


@pytest.mark.req("P7")
@pytest.mark.parametrize(
    ("condition", "sql"),
    [
        ("(( SELECT auth.uid() AS uid) = user_id)", f"{UID} = rooms.user_id"),
        ("((auth.uid())::text = owner)", f"CAST({UID} AS text) = rooms.owner"),
        (
            "(auth.role() = 'admin'::text)",
            "\"claims of a subscriber\".jwt ->> 'role' = CAST('admin' AS text)",
        ),
        (
            "(((current_setting('request.jwt.claims'::text, true))::json ->> 'a'::text) IS NULL)",
            "CAST(\"claims of a subscriber\".text AS pg_catalog.json) ->> CAST('a' AS text) IS NULL",
        ),
        (
            "(EXTRACT(epoch FROM now()) > (3)::numeric)",
            "pg_catalog.extract('epoch', now()) > CAST(3 AS numeric)",
        ),
        (
            "(EXISTS ( SELECT 1\n   FROM public.members m\n  WHERE (m.room_id = rooms.id)))",
            "EXISTS (SELECT 1 FROM public.members AS m WHERE m.room_id = rooms.id)",
        ),
        (
            "(id IN ( SELECT members.room_id\n   FROM public.members))",
            "EXISTS (SELECT 1 FROM public.members WHERE rooms.id = members.room_id)",
        ),
    ],
)
def test_claims_become_columns(condition: str, sql: str) -> None:
    members = rules(2, "members", is_filtered=False)
    assert rewrite(rules(1, "rooms", condition), members) == (sql,)


@pytest.mark.req("P7")
def test_permissive_policies_are_arms_and_restrictive_ones_hold_in_each() -> None:
    table = rules(1, "rooms", "is_public", "(user_id = auth.uid())", restrictive=("(NOT deleted)",))
    assert rewrite(table) == (
        "rooms.is_public AND NOT rooms.deleted",
        f"rooms.user_id = {UID} AND NOT rooms.deleted",
    )


@pytest.mark.req("P7")
def test_no_permissive_policy_is_nobody() -> None:
    assert rewrite(rules(1, "rooms", restrictive=("true",))) == ("FALSE AND TRUE",)


@pytest.mark.req("P7")
def test_a_table_under_a_sub_select_brings_its_own_policies() -> None:
    room = rules(1, "rooms", "(EXISTS ( SELECT 1 FROM public.members m WHERE (m.room_id = rooms.id)))")
    members = rules(2, "members", "(user_id = auth.uid())")
    assert rewrite(room, members) == (
        "EXISTS (SELECT 1 FROM (SELECT members.* FROM public.members AS members"
        f" WHERE members.user_id = {UID}) AS m WHERE m.room_id = rooms.id)",
    )


@pytest.mark.req("P7")
@pytest.mark.parametrize(
    "condition",
    [
        "public.is_member(id)",
        "(id OPERATOR(extensions.=) 'x'::extensions.citext)",
        "(rooms.* IS NOT NULL)",
        "(random() > 0.5)",
        "(CURRENT_USER = 'anon'::name)",
        "(current_setting('app.tenant'::text) = 'x'::text)",
        "(current_setting('request.jwt.claim.sub'::text, true) = 'x'::text)",
        "(pg_has_role('admin'::name, 'member'::text))",
        "(id IN ( SELECT unnest(ARRAY[1, 2]) AS unnest))",
        "(EXISTS ( SELECT 1 FROM generate_series(1, 2) g(g)))",
        "(EXISTS ( WITH a AS ( SELECT 1 ) SELECT 1 FROM a))",
        "(EXISTS ( SELECT 1 FROM public.members FOR UPDATE))",
        "(EXISTS ( SELECT row_number() OVER () AS row_number FROM public.members))",
        "(EXISTS ( SELECT 1 FROM public.elsewhere))",
        "(EXISTS ( SELECT 1 FROM public.a_view))",
        "(EXISTS ( SELECT 1 FROM public.not_mine))",
        "(EXISTS ( SELECT 1 FROM public.rooms rooms_1))",
        "(name = 'a'::text COLLATE \"C\")",
        "('\"claims of a subscriber\"'::text = 'claims of a subscriber'::text)",
    ],
)
def test_what_is_not_known_is_left_to_postgresql(condition: str) -> None:
    others = [
        rules(2, "members", is_filtered=False),
        rules(3, "a_view", is_table=False),
        rules(4, "not_mine", is_selectable=False),
    ]
    with pytest.raises(NotRewritable):
        rewrite(rules(1, "rooms", condition), *others)


@pytest.mark.req("P7")
def test_a_replaced_routine_of_auth_is_anybodys_function() -> None:
    with pytest.raises(NotRewritable):
        rewrite(rules(1, "rooms", "(user_id = auth.uid())"), routines=ROUTINES - {"uid"})
