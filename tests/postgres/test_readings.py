"""Figures of the database: read one by one, within limits."""

import psycopg
import pytest

from basalt.jobs import JOB_READINGS
from basalt.observe import Family
from basalt.postgres import POSTGRES_READINGS, DatabaseAccess, Figure, FigureReader, Reading

pytestmark = pytest.mark.req("P17")


def by_name(families: list[Family]) -> dict[str, dict[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in families:
        found.setdefault(family.name, {}).update({one.labels: one.value for one in family.samples})
    return found


async def read(access: DatabaseAccess, *readings: Reading, role: str = "supabase_admin") -> dict[str, object]:
    families = await FigureReader(access.conninfo(role), readings, pause_s=60).read()
    return {**by_name(families)}


async def test_every_reading_can_be_read_in_a_private_cluster(database: DatabaseAccess) -> None:
    found = await read(database, *POSTGRES_READINGS, *JOB_READINGS)
    wanted = {
        figure.name for one in (*POSTGRES_READINGS, *JOB_READINGS) for figure in one.figures if not one.needs
    }
    assert wanted <= set(found)


async def test_queues_are_told_by_state_and_age(database: DatabaseAccess) -> None:
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("select basalt.enqueue('a.do', queue => 'mail') from generate_series(1, 3)")
        connection.execute("select basalt.enqueue('a.do', queue => 'mail', delay => interval '1 hour')")
        connection.execute("select basalt.pause_queue('mail')")
    found = by_name(await FigureReader(database.conninfo("supabase_admin"), JOB_READINGS, pause_s=60).read())
    assert found["basalt_queue_jobs"][("mail", "ready")] == 3
    assert found["basalt_queue_jobs"][("mail", "scheduled")] == 1
    assert 0 <= found["basalt_queue_oldest_seconds"][("mail",)] < 60
    assert found["basalt_queue_paused"][("mail",)] == 1


async def test_what_may_not_be_read_is_left_out_and_the_rest_is_told(database: DatabaseAccess) -> None:
    allowed = Reading("select 1::float8", (Figure("basalt_test_allowed", "Allowed."),))
    broken = Reading("select 1 / 0", (Figure("basalt_test_broken", "Broken."),))
    endless = Reading("select pg_sleep(60)::text::float8", (Figure("basalt_test_endless", "Endless."),))
    missing = Reading(
        "select count(*)::float8 from nowhere.nothing",
        (Figure("basalt_test_missing", "Missing."),),
        needs="nowhere.nothing",
    )
    writing = Reading(
        "delete from basalt.queues returning 1::float8", (Figure("basalt_test_writing", "Writing."),)
    )
    found = await read(database, broken, missing, writing, endless, allowed, role="postgres")
    assert set(found) == {"basalt_postgres_up", "basalt_test_allowed"}


async def test_figures_are_kept_for_a_moment(database: DatabaseAccess) -> None:
    reading = Reading("select random()", (Figure("basalt_test_random", "Random."),))
    reader = FigureReader(database.conninfo("postgres"), [reading], pause_s=60)
    assert await reader.read() == await reader.read()
