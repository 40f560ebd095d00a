"""Which columns of tables a view shows, on real views."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from basalt.postgres import DatabaseAccess
from basalt.postgres.view_keys import parse_column_origins, trace_view_columns

Connection = psycopg.Connection[Any]
Shown = dict[str, tuple[str, str] | None]

TABLES = """
create schema app;
create table app.clients (id int primary key, name text, at timestamptz);
create table app.projects (id int primary key, client_id int references app.clients, name text, tags text[]);
create table app.tasks (id int, project_id int, title text, primary key (project_id, id));
"""

RULES = """
select r.oid, w.ev_action::text
from pg_class as r
join pg_namespace as n on n.oid = r.relnamespace
join pg_rewrite as w on w.ev_class = r.oid and w.ev_type = '1'
where n.nspname = 'app'
"""

COLUMNS = """
select r.oid, r.relname, a.attnum, a.attname
from pg_class as r
join pg_attribute as a on a.attrelid = r.oid
join pg_namespace as n on n.oid = r.relnamespace
where n.nspname = 'app' and a.attnum > 0
"""

AWKWARD_NAMES = (
    "two words",
    "a{b",
    "a}b",
    "{",
    "}",
    "({",
    "})",
    "(a, b)",
    'say "hello"',
    '"',
    "it's",
    "\\",
    "a\\",
    "\\{",
    "\\\\}",
    "a,b",
    "<>",
    "1",
    "-1",
    "tab\tand\nline",
    " :targetList (",
    " :resno 9 :resorigtbl 9 :resorigcol 9 :resjunk false}",
    "{TARGETENTRY :expr {VAR} :resno 1 :resorigtbl 1 :resorigcol 1}",
    "الاسم",
    "%s",
)


@pytest.fixture
def connection(empty_database: DatabaseAccess) -> Iterator[Connection]:
    with psycopg.connect(empty_database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute(TABLES)
        yield connection


def shown_by(connection: Connection, view: str) -> Shown:
    """For each column of the view, the table and column that it shows."""
    traced = trace_view_columns(
        {oid: parse_column_origins(rule) for oid, rule in connection.execute(RULES).fetchall()}
    )
    columns = connection.execute(COLUMNS).fetchall()
    names = {(oid, number): (relation, column) for oid, relation, number, column in columns}
    view_oid = next(oid for oid, relation, _, _ in columns if relation == view)
    shown: Shown = {column: None for oid, _, _, column in columns if oid == view_oid}
    for origin, numbers in traced[view_oid].items():
        if origin.relation != view_oid:
            shown |= {names[view_oid, number][1]: names[origin] for number in numbers}
    return shown


@pytest.mark.req("P5")
def test_a_view_shows_columns_under_new_names_and_more_than_once(connection: Connection) -> None:
    connection.execute(
        "create view app.v as select id, client_id as client, client_id as again from app.projects"
    )
    assert shown_by(connection, "v") == {
        "id": ("projects", "id"),
        "client": ("projects", "client_id"),
        "again": ("projects", "client_id"),
    }


@pytest.mark.req("P5")
def test_what_is_computed_shows_no_column(connection: Connection) -> None:
    connection.execute("""
        create view app.v as
        select id + 0 as sum, upper(name) as loud, name::varchar as cast_name, coalesce(id, 1) as filled,
            (select c.id from app.clients as c limit 1) as looked_up, tags[1] as first_tag, 1 as one,
            count(*) over () as counted
        from app.projects
    """)
    assert set(shown_by(connection, "v").values()) == {None}


@pytest.mark.req("P5")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "select p.id, c.name, c.id as client from app.projects as p left join app.clients as c on c.id = client_id",
            {"id": ("projects", "id"), "name": ("clients", "name"), "client": ("clients", "id")},
        ),
        (
            "select id, p.name from app.projects as p join app.clients as c using (id)",
            {"id": ("projects", "id"), "name": ("projects", "name")},
        ),
        (
            "select id from app.projects as p full join app.clients as c using (id)",
            {"id": None},  # either side's
        ),
        (
            "select s.key, s.title from (select t.id as key, t.title from (select * from app.tasks) as t) as s",
            {"key": ("tasks", "id"), "title": ("tasks", "title")},
        ),
        (
            "with a as (select id as x from app.projects), b as (select x as y from a) select y from b",
            {"y": ("projects", "id")},
        ),
        (
            "select l.id from app.clients as c, lateral (select * from app.projects where client_id = c.id) as l",
            {"id": ("projects", "id")},
        ),
        (
            "select client_id, max(id) as last from app.projects group by client_id having count(*) > 1",
            {"client_id": ("projects", "client_id"), "last": None},
        ),
        (
            "select distinct on (client_id) client_id, id from app.projects order by client_id, name, id desc",
            {"client_id": ("projects", "client_id"), "id": ("projects", "id")},
        ),
        (
            "select name from app.projects where exists (select from app.tasks as t where t.id = 1) order by id",
            {"name": ("projects", "name")},  # the entry that only sorts is no column
        ),
        ("select id from app.projects union all select id from app.clients", {"id": None}),
        (
            "with recursive w as (select id, 1 as depth from app.projects union all select id, depth + 1 from w)"
            " select id, depth from w",
            {"id": None, "depth": None},
        ),
        ("select * from (values (1, 'a')) as v(id, name)", {"id": None, "name": None}),
        ("select * from generate_series(1, 3) as id", {"id": None}),
        ("select id, '}) { :targetList (' as odd from app.tasks", {"id": ("tasks", "id"), "odd": None}),
    ],
)
def test_columns_are_followed_through_the_query(connection: Connection, query: str, expected: Shown) -> None:
    connection.execute(f"create view app.v as {query}")
    assert shown_by(connection, "v") == expected


@pytest.mark.req("P5")
@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_names_are_never_taken_for_structure(connection: Connection, name: str) -> None:
    connection.execute(
        sql.SQL("""
            create table app.odd ({name} int primary key, plain text);
            create view app.v as
                with {name} as (select {name}, {name} as {prefixed}, plain, {literal} as constant from app.odd)
                select {name}.* from {name} where plain <> {literal};
        """).format(name=sql.Identifier(name), prefixed=sql.Identifier(f"x{name}"), literal=sql.Literal(name))
    )
    assert shown_by(connection, "v") == {
        name: ("odd", name),
        f"x{name}": ("odd", name),
        "plain": ("odd", "plain"),
        "constant": None,
    }


@pytest.mark.req("P5")
def test_views_over_views_show_the_table_below(connection: Connection) -> None:
    connection.execute("""
        create view app.first as select name as n, id as i, lower(name) as low from app.clients;
        create materialized view app.second as select i as j, n, low from app.first;
        create view app.third as select s.j as k, s.low, p.id from app.second as s join app.projects as p on true;
    """)
    assert shown_by(connection, "third") == {
        "k": ("clients", "id"),
        "low": ("first", "low"),  # no further than where it is computed
        "id": ("projects", "id"),
    }


@pytest.mark.req("P5")
def test_views_that_select_from_each_other_come_to_an_end(connection: Connection) -> None:
    connection.execute("""
        create view app.a as select id, name from app.clients;
        create view app.b as select id, name from app.a;
        create or replace view app.a as select id, name from app.b;
    """)
    assert set(shown_by(connection, "a")) == {"id", "name"}


@pytest.mark.req("P5")
def test_renamed_and_added_columns_and_rules_for_writing_change_nothing(connection: Connection) -> None:
    connection.execute("""
        create view app.v as select id, name from app.clients;
        create rule v_insert as on insert to app.v do instead
            insert into app.projects (id, name) values (new.id, new.name) returning id, name;
        alter view app.v rename column name to title;
        alter table app.clients rename column id to client_id;
        create or replace view app.v as select client_id as id, name as title, at from app.clients;
    """)
    assert shown_by(connection, "v") == {
        "id": ("clients", "client_id"),
        "title": ("clients", "name"),
        "at": ("clients", "at"),
    }


@pytest.mark.req("P5")
def test_every_view_of_the_system_can_be_read(connection: Connection) -> None:
    rules = connection.execute(
        "select ev_class, ev_action::text from pg_rewrite where ev_type = '1'"
    ).fetchall()
    columns = connection.execute("select attrelid, attnum from pg_attribute where attnum > 0").fetchall()
    known = set(columns)
    read = {oid: parse_column_origins(rule) for oid, rule in rules}
    assert sum(map(len, read.values())) > 300
    assert {(oid, number) for oid, origins in read.items() for number in origins} <= known
    assert {tuple(origin) for origins in read.values() for origin in origins.values()} <= known
