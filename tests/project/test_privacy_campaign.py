"""Erasures over random schemas: nothing of the user is left, nothing of anybody else is touched, and a dry run tells
exactly what comes."""

import random
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess
from basalt.project import erase_user
from tests.projects import settings_of, write_project

pytestmark = [pytest.mark.req("P25")]

PEOPLE = [UUID(int=number, version=4) for number in (1, 2, 3)]
CASES = 40
RULES = ("cascade", "cascade", "set null", "no action")


class Schema:
    """Tables `t0`, `t1`, … with an id and a few references each: to a user, or to tables before them."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.tables: dict[str, list[tuple[str, str, str]]] = {}
        for number in range(chance.randint(2, 6)):
            targets = ["auth.users", *self.tables]
            self.tables[f"public.t{number}"] = [
                (f"c{place}", chance.choice([*targets, "auth.users"]), chance.choice(RULES))
                for place in range(chance.randint(1, 3))
            ]

    def create(self) -> str:
        lines = []
        for name, columns in self.tables.items():
            listed = ", ".join(
                f"{column} {'uuid' if target == 'auth.users' else 'bigint'} references {target} on delete {rule}"
                for column, target, rule in columns
            )
            unique = f", unique ({columns[0][0]})" if self.chance.random() < 0.2 else ""
            lines.append(f"create table {name} (id bigint primary key, note text, {listed}{unique});")
        return "\n".join(lines)

    def fill(self, connection: psycopg.Connection) -> None:
        for name, columns in self.tables.items():
            for row in range(8):
                values = [self._value(connection, target) for _, target, _ in columns]
                listed = ", ".join(column for column, _, _ in columns)
                places = ", ".join("%s" for _ in columns)
                insert = f"insert into {name} (id, note, {listed}) values (%s, 'n', {places}) on conflict do nothing"
                connection.execute(insert.encode(), [row, *values])

    def _value(self, connection: psycopg.Connection, target: str) -> object:
        if self.chance.random() < 0.15:
            return None
        if target == "auth.users":
            return self.chance.choice(PEOPLE)
        return self.chance.choice(
            connection.execute(f"select id from {target} order by id".encode()).fetchall()
        )[0]

    def rules(self) -> str:
        """For about every second table that would want one."""
        lines = []
        for name, columns in self.tables.items():
            if any(rule == "no action" for _, _, rule in columns) and self.chance.random() < 0.8:
                action = self.chance.choice(["delete", "anonymise"])
                columns_line = 'columns = ["note"]' if action == "anonymise" else ""
                lines.append(f'[basalt.privacy.tables."{name}"]\non_erase = "{action}"\n{columns_line}')
        return "\n".join(lines)

    def related(self, connection: psycopg.Connection) -> dict[str, set[int]]:
        """Rows from which some chain of references leads to the first of the people."""
        found: dict[str, set[int]] = {}
        for name, columns in self.tables.items():
            found[name] = set()
            for column, target, _ in columns:
                rows = connection.execute(f"select id, {column} from {name}".encode()).fetchall()
                hits = {PEOPLE[0]} if target == "auth.users" else found[target]
                found[name] |= {row[0] for row in rows if row[1] in hits}
        return found


def contents(connection: psycopg.Connection, schema: Schema) -> dict[str, list[tuple[object, ...]]]:
    return {
        name: connection.execute(f"select * from {name} order by id".encode()).fetchall()
        for name in schema.tables
    }


@pytest.mark.timeout(300)
def test_erasures_over_random_schemas(tmp_path: Path, database: DatabaseAccess) -> None:
    done = refused = 0
    for case in range(CASES):
        schema = Schema(random.Random(case))
        with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
            connection.execute("delete from auth.users")
            for person in PEOPLE:
                connection.execute(
                    "insert into auth.users (id, email) values (%s, %s)", [person, f"{person}@a.example"]
                )
            connection.execute(schema.create().encode())
            schema.fill(connection)
            before, related = contents(connection, schema), schema.related(connection)
            settings = settings_of(write_project(tmp_path, {"config.toml": schema.rules()}))
            try:
                told = erase_user(settings, database, str(PEOPLE[0]), is_dry=True)
            except BasaltError:
                refused += 1
                assert contents(connection, schema) == before
                with pytest.raises(BasaltError):
                    erase_user(settings, database, str(PEOPLE[0]), is_dry=False)
                assert contents(connection, schema) == before
            else:
                done += 1
                assert contents(connection, schema) == before
                result = erase_user(settings, database, str(PEOPLE[0]), is_dry=False)
                assert result.tables == told.tables, case
                after = contents(connection, schema)
                for name, rows in after.items():
                    assert not any(PEOPLE[0] in row for row in rows), (case, name)
                    strangers = [row for row in before[name] if row[0] not in related[name]]
                    assert [row for row in rows if row[0] not in related[name]] == strangers, (case, name)
                    changes = result.tables.get(name, {"deleted": 0})
                    assert changes["deleted"] == len(before[name]) - len(rows), (case, name)
            names = ", ".join(schema.tables)
            connection.execute(f"drop table {names} cascade".encode())
    assert done >= 10
    assert refused >= 3
