"""Feature flags in the database: policies, clients, who may read what, and the audit."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest

from basalt.flags import bucket
from tests.flags.conftest import As, value_of

pytestmark = pytest.mark.req("P18")

ENABLED = "select flags.enabled(%s)"


def make(admin: psycopg.Connection, name: str, **columns: Any) -> None:
    given = {"name": name, "enabled": True, **columns}
    columns_list = ", ".join(given)
    places = ", ".join(["%s"] * len(given))
    admin.execute(
        f"insert into flags.flags ({columns_list}) values ({places})".encode(), list(given.values())
    )


def test_a_switch_is_for_everybody_at_once(admin: psycopg.Connection, acting: As, flag: str) -> None:
    make(admin, flag, enabled=False)
    for enabled in (False, True, False):
        admin.execute("update flags.flags set enabled = %s where name = %s", [enabled, flag])
        for role, claims in (("anon", {}), ("authenticated", {"sub": str(uuid4())}), ("service_role", {})):
            with acting(role, **claims) as connection:
                assert value_of(connection, ENABLED, [flag]) is enabled


def test_a_flag_that_is_not_there_gives_the_default(acting: As) -> None:
    with acting("anon") as connection:
        assert value_of(connection, ENABLED, ["nowhere"]) is False
        assert value_of(connection, "select flags.enabled('nowhere', true)") is True
        assert value_of(connection, "select flags.value('nowhere', '7')") == 7
        assert value_of(connection, "select flags.value('nowhere')") is None


def test_a_percentage_takes_in_its_share_and_keeps_it_while_it_grows(
    admin: psycopg.Connection, flag: str
) -> None:
    make(admin, flag, rollout=0)
    users = [str(uuid4()) for _ in range(2000)]
    before: set[str] = set()
    for rollout in (0, 10, 25, 50, 99.9, 100):
        admin.execute("update flags.flags set rollout = %s where name = %s", [rollout, flag])
        query = """
            select u from unnest(%s::text[]) as u, flags.flags as f
            where f.name = %s and (flags.decide(f, u, u, '{}')).value = 'true'
        """
        within = {user for (user,) in admin.execute(query, [users, flag])}
        assert before <= within
        assert abs(len(within) - 20 * rollout) < 110  # five standard deviations at most
        before = within
    assert len(before) == 2000


def test_two_flags_begin_with_different_users() -> None:
    users = [str(uuid4()) for _ in range(2000)]
    first, second = ({user for user in users if bucket(name, user) < 2**32 // 10} for name in ("one", "two"))
    assert len(first & second) < 60  # 20 by chance


def test_without_a_user_only_a_hundred_percent_count(
    admin: psycopg.Connection, acting: As, flag: str
) -> None:
    make(admin, flag, rollout=99.999)
    with acting("anon") as connection:
        assert value_of(connection, ENABLED, [flag]) is False
        # A client without a user may name itself, and is then the same one each time.
        query = "select value from flags.evaluate(%s) where name = %s"
        assert value_of(connection, query, ["device-1", flag]) is True


def test_the_first_rule_that_fits_decides(admin: psycopg.Connection, acting: As, flag: str) -> None:
    make(admin, flag, rollout=0)
    tester, banned, pro = str(uuid4()), str(uuid4()), {"app_metadata": {"tier": "pro"}}
    admin.execute(
        """
        insert into flags.cohorts (name, user_ids, claims) values
            (%(flag)s || '_banned', array[%(banned)s], null),
            (%(flag)s || '_testers', array[%(tester)s], null),
            (%(flag)s || '_pro', '{}', '{"app_metadata": {"tier": "pro"}}')
        """,
        {"flag": flag, "banned": banned, "tester": tester},
    )
    rules = [(1, "banned", 0), (2, "testers", 100), (3, "pro", 100)]
    for position, cohort, rollout in rules:
        admin.execute(
            "insert into flags.rules values (%s, %s, %s, %s)", [flag, position, f"{flag}_{cohort}", rollout]
        )
    for claims, expected in (
        ({"sub": tester}, True),
        ({"sub": banned, **pro}, False),
        ({"sub": str(uuid4()), **pro}, True),
        ({"sub": str(uuid4()), "app_metadata": {"tier": "free"}}, False),
        ({"sub": str(uuid4()), "user_metadata": pro}, False),
        ({}, False),
    ):
        with acting("authenticated", **claims) as connection:
            assert value_of(connection, ENABLED, [flag]) is expected, claims
    with acting("anon") as connection:  # a name that one chooses oneself is on no list
        query = "select value from flags.evaluate(%s) where name = %s"
        assert value_of(connection, query, [tester, flag]) is False
    with acting("authenticated", sub=str(uuid4())) as connection:
        assert value_of(connection, query, [tester, flag]) is False


def test_variants_share_the_users_by_weight(admin: psycopg.Connection, flag: str) -> None:
    variants = (
        '[{"name": "a", "value": "x", "weight": 1}, {"name": "b", "value": "y", "weight": 3},'
        ' {"name": "never", "value": "z", "weight": 0}]'
    )
    make(admin, flag, off_value='"none"', variants=variants, rollout=50)
    users = [str(uuid4()) for _ in range(2000)]
    query = """
        select (flags.decide(f, u, u, '{}')).variant, count(*)
        from unnest(%s::text[]) as u, flags.flags as f
        where f.name = %s group by 1
    """
    shares = dict(admin.execute(query, [users, flag]).fetchall())
    assert set(shares) == {"off", "a", "b"}
    assert abs(shares["off"] - 1000) < 120
    assert abs(shares["a"] - 250) < 80
    assert abs(shares["b"] - 750) < 110


def test_a_schedule_begins_and_ends(admin: psycopg.Connection, acting: As, flag: str) -> None:
    for starts, ends, expected in (
        ("-1 hour", "1 hour", True),
        ("1 minute", "1 hour", False),
        ("-1 hour", "-1 minute", False),
        (None, "1 hour", True),
        ("-1 hour", None, True),
    ):
        name = f"{flag}_{starts}_{ends}".replace(" ", "_").replace("-", "m")
        make(admin, name)
        admin.execute(
            "update flags.flags set starts_at = now() + %s::interval, ends_at = now() + %s::interval where name = %s",
            [starts, ends, name],
        )
        with acting("anon") as connection:
            assert value_of(connection, ENABLED, [name]) is expected


def test_a_policy_asks_once_a_statement(admin: psycopg.Connection, acting: As, flag: str) -> None:
    make(admin, flag)
    admin.execute(
        f"""
        create table public.posts_{flag} (id int);
        insert into public.posts_{flag} select generate_series(1, 1000);
        alter table public.posts_{flag} enable row level security;
        create policy "with the feature" on public.posts_{flag} for select to authenticated
            using ((select flags.enabled('{flag}')));
        grant select on public.posts_{flag} to authenticated;
        """.encode()
    )
    count = f"select count(*) from public.posts_{flag}"
    with acting("authenticated", sub=str(uuid4())) as connection:
        assert value_of(connection, count) == 1000
        plan = connection.execute(f"explain {count}".encode()).fetchall()
        assert any("InitPlan" in line for (line,) in plan)
    admin.execute("update flags.flags set enabled = false where name = %s", [flag])
    with acting("authenticated", sub=str(uuid4())) as connection:
        assert value_of(connection, count) == 0


def test_clients_see_what_they_have_and_not_why(admin: psycopg.Connection, acting: As, flag: str) -> None:
    make(admin, flag, off_value='"grey"', variants='[{"name": "hue", "value": "red", "weight": 1}]')
    make(admin, f"{flag}_private", is_public=False)
    for role in ("anon", "authenticated"):
        with acting(role, sub=str(uuid4())) as connection:
            names = "select name, value, variant from flags.mine where name like %s"
            assert connection.execute(names, [f"{flag}%"]).fetchall() == [(flag, "red", "hue")]
            assert value_of(connection, ENABLED, [f"{flag}_private"]) is True
        for forbidden in (
            "select * from flags.flags",
            "select * from flags.cohorts",
            "select * from flags.rules",
            "select * from flags.audit",
            "update flags.flags set enabled = true",
            "insert into flags.flags (name) values ('mine')",
            "select * from flags.evaluate_for('somebody')",
            "select flags.definitions()",
            "select flags.decide(f, 'a', 'b', '{}') from flags.flags as f",
            "create table flags.mine_too ()",
        ):
            with acting(role) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden.encode())


def test_the_service_does_everything_but_change_the_audit(acting: As, flag: str) -> None:
    with acting("service_role") as connection:
        connection.execute("insert into flags.flags (name, enabled) values (%s, true)", [flag])
        assert value_of(connection, "select count(*) from flags.audit where name = %s", [flag]) == 1
        query = "select value, reason from flags.evaluate_for('somebody') where name = %s"
        assert connection.execute(query, [flag]).fetchone() == (True, "STATIC")
    for forbidden in (
        "delete from flags.audit",
        "update flags.audit set changed_by = 'x'",
        "truncate flags.audit",
        "truncate flags.flags cascade",
        "insert into flags.audit (changed_by, role, subject, name, action) values ('x', 'x', 'flag', 'x', 'insert')",
    ):
        with acting("service_role") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(forbidden.encode())


def test_every_change_leaves_who_when_before_after_and_the_request(
    admin: psycopg.Connection, acting: As, flag: str
) -> None:
    user = str(uuid4())
    with acting("service_role", sub=user, headers={"x-request-id": "req-7"}) as connection:
        connection.execute("insert into flags.flags (name) values (%s)", [flag])
        connection.execute("update flags.flags set enabled = true where name = %s", [flag])
        connection.execute(
            "update flags.flags set enabled = true where name = %s", [flag]
        )  # which is no change
        connection.execute("insert into flags.cohorts (name) values (%s)", [f"{flag}_c"])
        connection.execute("insert into flags.rules values (%s, 1, %s)", [flag, f"{flag}_c"])
        connection.execute("delete from flags.flags where name = %s", [flag])
    rows = admin.execute(
        """
        select subject, action, changed_by, role, request_id, before ->> 'enabled', after ->> 'enabled'
        from flags.audit where name like %s order by id
        """,
        [f"{flag}%"],
    ).fetchall()
    by = (user, "service_role", "req-7")
    assert rows == [
        ("flag", "insert", *by, None, "false"),
        ("flag", "update", *by, "false", "true"),
        ("cohort", "insert", *by, None, None),
        ("rule", "insert", *by, None, None),
        ("flag", "delete", *by, "true", None),
        ("rule", "delete", *by, None, None),
    ]


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"name": "with space"}, "flags_name_check"),
        ({"name": ""}, "flags_name_check"),
        ({"rollout": 101}, "flags_rollout_check"),
        ({"rollout": -1}, "flags_rollout_check"),
        ({"off_value": "null"}, "flags_off_value_check"),
        ({"off_value": '"text"'}, "flags_variants_check"),
        ({"variants": "[]"}, "flags_variants_check"),
        ({"variants": "{}"}, "flags_variants_check"),
        ({"variants": '[{"name": "on", "value": true, "weight": 0}]'}, "flags_variants_check"),
        ({"variants": '[{"name": "off", "value": true, "weight": 1}]'}, "flags_variants_check"),
        ({"variants": '[{"name": "on", "value": true, "weight": -1}]'}, "flags_variants_check"),
        ({"variants": '[{"name": "on", "value": true, "weight": 1.5}]'}, "flags_variants_check"),
        ({"variants": '[{"name": "on", "value": true}]'}, "flags_variants_check"),
        ({"variants": '[{"name": "on", "weight": 1}]'}, "flags_variants_check"),
        ({"variants": '[{"value": true, "weight": 1}]'}, "flags_variants_check"),
        ({"variants": '[1, "a", null]'}, "flags_variants_check"),
        (
            {
                "variants": '[{"name": "a", "value": true, "weight": 1}, {"name": "a", "value": true, "weight": 1}]'
            },
            "flags_variants_check",
        ),
        ({"starts_at": "2030-01-02", "ends_at": "2030-01-01"}, "flags_schedule_check"),
    ],
)
def test_what_can_be_no_flag_is_refused(
    admin: psycopg.Connection, flag: str, columns: dict[str, Any], constraint: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as refused:
        make(admin, columns.pop("name", flag), **columns)
    assert refused.value.diag.constraint_name == constraint
