"""The ordinary pool."""

from contextlib import suppress

import psycopg

from basalt.postgres import DatabaseAccess, open_pool


async def test_rows_are_dicts_and_the_connection_says_whose_it_is(database: DatabaseAccess) -> None:
    async with open_pool(database.conninfo("postgres"), name="auth") as pool, pool.connection() as connection:
        cursor = await connection.execute("select current_setting('application_name') as name, 'ü' as letter")
        assert await cursor.fetchone() == {"name": "basalt/auth", "letter": "ü"}


async def test_a_transaction_that_fails_is_undone(database: DatabaseAccess) -> None:
    async with open_pool(database.conninfo("postgres"), max_size=1, name="auth") as pool:
        with suppress(psycopg.errors.DivisionByZero):
            async with pool.connection() as connection:
                await connection.execute("create table public.gone (id int)")
                await connection.execute("select 1 / 0")
        async with pool.connection() as connection:
            cursor = await connection.execute("select to_regclass('public.gone') as gone")
            assert await cursor.fetchone() == {"gone": None}


async def test_a_connection_that_died_in_the_pool_is_replaced(database: DatabaseAccess) -> None:
    async with open_pool(database.conninfo("postgres"), min_size=1, max_size=1, name="auth") as pool:
        async with pool.connection() as connection:
            pid = connection.info.backend_pid
        with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as observer:
            observer.execute("select pg_terminate_backend(%s, 5000)", (pid,))
        async with pool.connection() as connection:
            cursor = await connection.execute("select 1 as one")
            assert await cursor.fetchone() == {"one": 1}
