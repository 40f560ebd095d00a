"""Which rows are a user's: those that refer to them, and those that refer to these, along foreign keys.

A table whose key to the user is unique (`profiles.id references auth.users`) is the user by another name: what refers
to it refers to the user. Any other table's rows are the user's belongings, and rows that refer to a belonging are
parts of it (`order_items` of `orders`), unless they name a user of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from basalt.config import PrivacyTableSettings
from basalt.errors import BasaltError

OnDelete = Literal["cascade", "set null", "set default", "restrict", "no action"]
USERS: Final = "auth.users"

# Rows of these are not a project's: Auth's and Storage's are dealt with by name, the rest knows no users.
PLATFORM: Final = (
    "auth", "storage", "basalt", "cron", "net", "vault", "realtime", "_realtime", "pgmq", "supabase_functions",
    "supabase_migrations", "pgsodium", "graphql", "cache", "flags",
)  # fmt: skip

LOAD_KEYS: Final = """
select k.conname as name, n.nspname || '.' || c.relname as "table", fn.nspname || '.' || f.relname as parent,
    (select array_agg(a.attname::text order by u.place) from unnest(k.conkey) with ordinality as u (number, place)
        join pg_attribute as a on a.attrelid = k.conrelid and a.attnum = u.number) as columns,
    (select array_agg(a.attname::text order by u.place) from unnest(k.confkey) with ordinality as u (number, place)
        join pg_attribute as a on a.attrelid = k.confrelid and a.attnum = u.number) as parent_columns,
    (select array_agg(a.attname::text) from pg_attribute as a
        where a.attrelid = k.conrelid and a.attnum = any (coalesce(k.confdelsetcols, k.conkey))) as loose_columns,
    case k.confdeltype when 'c' then 'cascade' when 'n' then 'set null' when 'd' then 'set default'
        when 'r' then 'restrict' else 'no action' end as on_delete,
    not exists (select from pg_attribute as a where a.attrelid = k.conrelid and a.attnotnull
        and a.attnum = any (coalesce(k.confdelsetcols, k.conkey))) as is_nullable,
    exists (select from pg_index as i
        where i.indrelid = k.conrelid and i.indisunique and i.indpred is null and i.indnkeyatts = cardinality(k.conkey)
            and (i.indkey::smallint[])[0:i.indnkeyatts - 1] <@ k.conkey) as is_unique
from pg_constraint as k
join pg_class as c on c.oid = k.conrelid join pg_namespace as n on n.oid = c.relnamespace
join pg_class as f on f.oid = k.confrelid join pg_namespace as fn on fn.oid = f.relnamespace
where k.contype = 'f' and k.conparentid = 0 and k.conrelid <> k.confrelid and n.nspname <> all (%s)
order by 2, 1
"""
# An index over an expression, such as `lower(name)`, depends on the column too.
LOAD_COLUMNS: Final = """
select a.attname as name, a.attnotnull as is_required, a.atthasdef as has_default, a.attgenerated <> '' as is_generated,
    t.typname as type, t.typcategory as category, format_type(a.atttypid, a.atttypmod) as full_type,
    exists (select from pg_index as i
        where i.indrelid = a.attrelid and i.indisunique and (a.attnum = any (i.indkey::smallint[])
            or exists (select from pg_depend as d where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
                and d.refclassid = 'pg_class'::regclass and d.refobjid = a.attrelid and d.refobjsubid = a.attnum))
    ) as is_unique
from pg_attribute as a
join pg_type as own on own.oid = a.atttypid
join pg_type as t on t.oid = coalesce(nullif(own.typbasetype, 0), own.oid)
where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""
ID_TYPES: Final = ("uuid", "text", "varchar", "bpchar", "citext")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """`is_unique`: no two rows have the same value. `loose_columns`: those to empty so that a row
    refers to its parent no more; all of its columns, unless `on delete set null` names some. `is_nullable`: they may
    be null."""

    name: str
    table: str
    columns: Sequence[str]
    parent: str
    parent_columns: Sequence[str]
    loose_columns: Sequence[str]
    on_delete: OnDelete
    is_nullable: bool
    is_unique: bool


@dataclass(frozen=True, slots=True)
class Link:
    """By which columns a table's rows belong to a user: along a key to `parent`, or, without one, by the user's id, as
    text or as a uuid."""

    columns: Sequence[str]
    key: ForeignKey | None = None
    parent: "Reached | None" = None
    is_text: bool = False

    @property
    def loose_columns(self) -> Sequence[str]:
        """Those to empty so that a row refers to the user no more."""
        return self.columns if self.key is None else self.key.loose_columns

    @property
    def is_direct(self) -> bool:
        """Whether it leads to the user, under whatever name, rather than to a belonging of theirs."""
        return self.parent is None or self.parent.is_user


@dataclass(slots=True)
class Reached:
    """A table with rows of the user. `depth` is how far it is from `auth.users`, `links` lead to nearer tables, `keys`
    are all of its keys to tables that are reached."""

    table: str
    depth: int
    is_user: bool = False
    links: list[Link] = field(default_factory=list)
    keys: list[ForeignKey] = field(default_factory=list)

    @property
    def identifier(self) -> sql.Identifier:
        return quote(*self.table.split(".", 1))

    @property
    def own_links(self) -> Sequence[Link]:
        """Those that say whose the rows are: the direct ones where there are any."""
        return [link for link in self.links if link.is_direct] or self.links

    def condition(self, links: Sequence[Link] | None = None) -> sql.Composable:
        """True for the user's rows; `%(id)s` is the user's id."""
        if self.table == USERS:
            return sql.SQL("id = %(id)s")
        return sql.SQL(" or ").join(
            _build_condition(link) for link in (self.own_links if links is None else links)
        )


def quote(*names: str) -> sql.Identifier:
    """For a statement with parameters, in which a percent sign is none of a name's own."""
    return sql.Identifier(*(name.replace("%", "%%") for name in names))


def find_tables(
    connection: psycopg.Connection[Any], rules: Mapping[str, PrivacyTableSettings]
) -> list[Reached]:
    """The project's tables with rows of users. Raises BasaltError for rules that do not fit them."""
    return reach(load_keys(connection), load_named(connection, rules))


def load_keys(connection: psycopg.Connection[Any]) -> list[ForeignKey]:
    """All foreign keys of the project's tables, but those of a table to itself."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return [ForeignKey(**row) for row in cursor.execute(LOAD_KEYS, [list(PLATFORM)]).fetchall()]


def load_columns(connection: psycopg.Connection[Any], table: str) -> dict[str, dict[str, Any]]:
    """A table's columns by name. Raises BasaltError where there is no such table."""
    with connection.cursor(row_factory=dict_row) as cursor:
        name = sql.Identifier(*table.split(".", 1)).as_string(connection)
        rows = cursor.execute(LOAD_COLUMNS, [name]).fetchall()
    if not rows:
        raise BasaltError(
            "privacy_rule_invalid", 400, f"basalt.privacy.tables names {table}, and there is no such table."
        )
    return {row["name"]: row for row in rows}


def load_named(
    connection: psycopg.Connection[Any], rules: Mapping[str, PrivacyTableSettings]
) -> dict[str, list[Link]]:
    """The columns of `user_columns` by table. Raises BasaltError for one that is not there or holds no ids."""
    named: dict[str, list[Link]] = {}
    for table, rule in rules.items():
        if rule.user_columns:
            columns = load_columns(connection, table)
            named[table] = [_name_link(table, name, columns.get(name)) for name in rule.user_columns]
    return named


def _name_link(table: str, name: str, column: Mapping[str, Any] | None) -> Link:
    if column is None or column["type"] not in ID_TYPES:
        problem = "has no column" if column is None else "holds no users' ids in"
        raise BasaltError(
            "privacy_rule_invalid", 400, f"{table} {problem} {name}, which `user_columns` names."
        )
    return Link((name,), is_text=column["type"] != "uuid")


def reach(keys: Sequence[ForeignKey], named: Mapping[str, Sequence[Link]]) -> list[Reached]:
    """Tables with rows of the user, the nearest first; `auth.users` is the first of them. A table is reached by keys to
    nearer ones only, so that circles end. `named` are links without a key, by table."""
    users = Reached(USERS, 0, is_user=True)
    found = {USERS: users}
    for name, links in named.items():
        found[name] = Reached(name, 1, links=list(links))
    level = [users]
    depth = 0
    while level:
        depth += 1
        nearer = {each.table: each for each in found.values() if each.depth < depth}
        for key in keys:
            parent = nearer.get(key.parent)
            child = found.get(key.table)
            if parent is None or (child is not None and child.depth < depth):
                continue
            child = found.setdefault(key.table, Reached(key.table, depth))
            child.links.append(Link(key.columns, key, parent))
            child.is_user = child.is_user or (parent.is_user and key.is_unique)
        level = [each for each in found.values() if each.depth == depth]
    for key in keys:
        if key.table in found and key.parent in found:
            found[key.table].keys.append(key)
    return sorted(found.values(), key=lambda each: (each.depth, each.table))


def _build_condition(link: Link) -> sql.Composable:
    columns = [quote(column) for column in link.columns]
    if link.key is None or link.parent is None:
        return sql.SQL("({} = %(id)s::text)" if link.is_text else "({} = %(id)s)").format(columns[0])
    if link.parent.table == USERS and list(link.key.parent_columns) == ["id"]:
        return sql.SQL("({} = %(id)s)").format(columns[0])
    return sql.SQL("(({}) in (select {} from {} where {}))").format(
        sql.SQL(", ").join(columns),
        sql.SQL(", ").join(quote(column) for column in link.key.parent_columns),
        link.parent.identifier,
        link.parent.condition(),
    )
