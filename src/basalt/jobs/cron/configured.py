"""`[functions.NAME] schedule` and `[basalt.retention.NAME]` in config.toml: schedules `functions/NAME` and
`retention/NAME` that enqueue a job.

They are made, changed and removed as the file says; one that somebody paused stays so.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

import orjson
from psycopg import sql

from basalt import observe
from basalt.config import Settings
from basalt.jobs.cron.board import Connection, find_schedules
from basalt.jobs.cron.session import connect_owner
from basalt.postgres import DatabaseAccess

LOCK_KEY: Final = 0x6372_6F6E_6366  # "croncf"

CREATE: Final = "create extension if not exists pg_cron with schema extensions"

UPSERT: Final = """
insert into cron.job as j (jobname, schedule, command, timezone, username, is_configured)
values (%(name)s, %(schedule)s, %(command)s, %(timezone)s, %(username)s, true)
on conflict on constraint jobname_username_uniq do update
set schedule = excluded.schedule, command = excluded.command, timezone = excluded.timezone,
    database = excluded.database, is_configured = true
where (j.schedule, j.command, j.timezone, j.database, j.is_configured)
    is distinct from (excluded.schedule, excluded.command, excluded.timezone, excluded.database, true)
"""

REMOVE: Final = "delete from cron.job where is_configured and jobname <> all(%s)"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A schedule of the settings."""

    name: str
    schedule: str
    command: str
    timezone: str


async def ensure_configured_schedules(settings: Settings, access: DatabaseAccess) -> None:
    """Bring the schedules of functions and retention policies to what the settings say. Safe to repeat, by several
    workers at once."""
    scheduled = list(_list_wanted(settings))
    async with await connect_owner(access, "cron-settings") as connection, connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(%s)", [LOCK_KEY])
        if not await _has_schedules(connection, are_wanted=bool(scheduled)):
            return
        for wanted in scheduled:
            await connection.execute(UPSERT, {**asdict(wanted), "username": access.login("postgres")})
        await connection.execute(REMOVE, [[wanted.name for wanted in scheduled]])


def _list_wanted(settings: Settings) -> Iterator[Wanted]:
    for name, function in settings.functions.items():
        if function.enabled and function.schedule is not None:
            command = build_command(name, function.queue)
            yield Wanted(f"functions/{name}", function.schedule, command, function.timezone)
    for name, policy in settings.basalt.retention.items():
        if policy.enabled:
            command = build_retention_command(name)
            yield Wanted(f"retention/{name}", policy.schedule, command, policy.timezone)


def build_command(function: str, queue: str) -> str:
    """
    >>> build_command("digest", "default")
    "select basalt.enqueue('digest', '{}')"
    >>> build_command("digest", "mails")
    "select basalt.enqueue('digest', '{}', queue => 'mails')"
    """
    command = sql.SQL("select basalt.enqueue({}, '{{}}'").format(sql.Literal(function))
    if queue != "default":
        command += sql.SQL(", queue => {}").format(sql.Literal(queue))
    return (command + sql.SQL(")")).as_string(None)


def build_retention_command(policy: str) -> str:
    """A run that has not begun yet is not asked for again.

    >>> print(build_retention_command("logs"))
    select basalt.enqueue('basalt.retention', '{"policy":"logs"}', key => 'logs')
    """
    payload = orjson.dumps({"policy": policy}).decode()
    command = sql.SQL("select basalt.enqueue('basalt.retention', {}, key => {})")
    return command.format(sql.Literal(payload), sql.Literal(policy)).as_string(None)


async def _has_schedules(connection: Connection, *, are_wanted: bool) -> bool:
    is_ours, exists = await find_schedules(connection)
    if is_ours or not are_wanted:
        return is_ours
    if exists:
        observe.event("configured_schedules_left_out", level="error", reason="the server has pg_cron itself")
        return False
    await connection.execute("set local role postgres")  # as a migration would, so that one may drop it
    await connection.execute(CREATE)
    await connection.execute("reset role")
    return True
