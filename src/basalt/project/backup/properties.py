"""What has been said of a database as a whole, which pg_dump leaves out: its settings, and who may do what with it."""

from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg import sql

from basalt.postgres import DatabaseAccess
from basalt.project.backup.manifest import DatabaseGrant, DatabaseSetting
from basalt.project.backup.progress import Tell

READ_SETTINGS: Final = """
select r.rolname, split_part(c.setting, '=', 1), substr(c.setting, strpos(c.setting, '=') + 1)
from pg_catalog.pg_db_role_setting as s
join pg_catalog.pg_database as d on d.oid = s.setdatabase
left join pg_catalog.pg_roles as r on r.oid = s.setrole
cross join unnest(s.setconfig) as c (setting)
where d.datname = current_database()
"""
READ_GRANTS: Final = """
select r.rolname, g.privilege_type
from pg_catalog.pg_database as d
cross join aclexplode(d.datacl) as g
left join pg_catalog.pg_roles as r on r.oid = g.grantee
where d.datname = current_database() and g.grantee <> d.datdba
"""
# Kept as PostgreSQL reads them: names, quoted where they have to be.
LISTS: Final = frozenset(
    {"local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces"}
)
PRIVILEGES: Final = {
    "CONNECT": sql.SQL("connect"),
    "CREATE": sql.SQL("create"),
    "TEMPORARY": sql.SQL("temporary"),
}


def read_settings(connection: psycopg.Connection[Any]) -> list[DatabaseSetting]:
    """Of `alter database … set` and `alter role … in database … set`."""
    return [DatabaseSetting(*row) for row in connection.execute(READ_SETTINGS)]


def read_grants(connection: psycopg.Connection[Any]) -> list[DatabaseGrant]:
    """Of `grant … on database`; empty where nothing was ever granted or revoked."""
    return [DatabaseGrant(*row) for row in connection.execute(READ_GRANTS)]


def apply_grants(access: DatabaseAccess, grants: Sequence[DatabaseGrant], tell: Tell) -> None:
    """Instead of what a new database allows everybody."""
    database = sql.Identifier(access.dbname)
    statements = [sql.SQL("revoke all on database {} from public").format(database)] if grants else []
    for grant in grants:
        role = sql.Identifier(grant.role) if grant.role else sql.SQL("public")
        privilege = PRIVILEGES[grant.privilege]
        statements.append(sql.SQL("grant {} on database {} to {}").format(privilege, database, role))
    _execute(access, statements, tell)


def apply_settings(access: DatabaseAccess, settings: Sequence[DatabaseSetting], tell: Tell) -> None:
    database = sql.Identifier(access.dbname)
    statements = []
    for setting in settings:
        role = sql.SQL("role {} in ").format(sql.Identifier(setting.role)) if setting.role else sql.SQL("")
        name = sql.SQL(".").join(map(sql.Identifier, setting.name.split(".")))
        is_list = setting.name in LISTS and setting.value
        value = sql.SQL(setting.value) if is_list else sql.Literal(setting.value)
        statements.append(sql.SQL("alter {}database {} set {} to {}").format(role, database, name, value))
    _execute(access, statements, tell)


def _execute(access: DatabaseAccess, statements: Sequence[sql.Composed], tell: Tell) -> None:
    """What the server does not allow is told: the rows count more."""
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
        for statement in statements:
            try:
                connection.execute(statement)
            except psycopg.Error as exc:
                tell(f"Warning: {exc.diag.message_primary}: {statement.as_string(connection)}")
