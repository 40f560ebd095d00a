"""PostgreSQL's own settings and versions, where they endanger data or hide what happens."""

from collections.abc import Sequence
from typing import Final, LiteralString

from basalt.postgres import SqlCheck

SETTINGS: Final[LiteralString] = """
select s.name as subject, format('is %%s', s.setting) || coalesce(' (' || s.sourcefile || ')', '') as what,
    format('alter system set %%I = %%L;%%s', s.name, bad.better,
        case when s.context = 'postmaster' then '  -- and restart' else ' select pg_reload_conf();' end) as remedy,
    bad.severity
from pg_catalog.pg_settings as s
join (values
    ('fsync', 'off', 'on', 'error'),
    ('full_page_writes', 'off', 'on', 'error'),
    ('zero_damaged_pages', 'on', 'off', 'error'),
    ('ignore_checksum_failure', 'on', 'off', 'error'),
    ('synchronous_commit', 'off', 'on', 'warning'),
    ('track_counts', 'off', 'on', 'error'),
    ('track_activities', 'off', 'on', 'warning'),
    ('password_encryption', 'md5', 'scram-sha-256', 'warning'),
    ('wal_level', 'minimal', 'logical', 'warning'),
    ('wal_level', 'replica', 'logical', 'warning'),
    ('log_statement', 'all', 'ddl', 'warning'),
    ('autovacuum_max_workers', '1', '3', 'info')
) as bad (name, value, better, severity) on bad.name = s.name and bad.value = s.setting
order by bad.severity, s.name
"""

PENDING_RESTART: Final[LiteralString] = """
select s.name as subject, 'was changed, and counts only after a restart' as what,
    'basalt stop and start, or restart the server' as remedy
from pg_catalog.pg_settings as s where s.pending_restart
order by 1
"""

VERSION: Final[LiteralString] = """
select 'PostgreSQL ' || current_setting('server_version') as subject,
    case when current_setting('server_version_num')::integer < 150000 then 'is older than Basalt works with'
        else 'is running since ' || to_char(pg_postmaster_start_time() at time zone 'utc',
            'YYYY-MM-DD HH24:MI"Z"') end as what,
    null as remedy,
    case when current_setting('server_version_num')::integer < 150000 then 'error' else 'info' end as severity
"""

COLLATIONS: Final[LiteralString] = """
select d.datname as subject,
    format('was made with collation version %%s, and the system has %%s now', d.datcollversion,
        pg_database_collation_actual_version(d.oid)) as what,
    format('reindex database %%I; alter database %%I refresh collation version;', d.datname, d.datname) as remedy
from pg_catalog.pg_database as d
where d.datname = current_database() and d.datcollversion <> pg_database_collation_actual_version(d.oid)
"""

EXTENSIONS: Final[LiteralString] = """
select e.name as subject,
    format('is at version %%s, and the server offers %%s', e.installed_version, e.default_version) as what,
    format('alter extension %%I update;', e.name) as remedy
from pg_catalog.pg_available_extensions as e
where e.installed_version <> e.default_version
order by 1
"""

ZONE: Final[LiteralString] = """
select 'TimeZone' as subject, format('of new sessions is %%s', current_setting('TimeZone')) as what,
    format('alter database %%I set timezone = ''UTC'';', current_database()) as remedy
where current_setting('TimeZone') not in ('UTC', 'Etc/UTC', 'GMT', 'Etc/GMT', 'Zulu', 'Etc/Zulu', 'UCT')
"""

CACHE: Final[LiteralString] = """
select 'shared_buffers' as subject,
    format('hold %%s%%%% of the pages that are read; %%s are set',
        round(100.0 * d.blks_hit / (d.blks_hit + d.blks_read)),
        pg_size_pretty(pg_size_bytes(current_setting('shared_buffers')))) as what,
    'alter system set shared_buffers = …;  -- a quarter of the memory; and restart' as remedy
from pg_catalog.pg_stat_database as d
where d.datname = current_database() and d.blks_read > 1000000 and d.blks_hit < 9 * d.blks_read
"""

DAMAGE: Final[LiteralString] = """
select d.datname as subject,
    format('has %%s pages whose checksum was wrong, last seen %%s', d.checksum_failures, d.checksum_last_failure)
        as what,
    'restore from a backup; the disk or memory of this machine is not sound' as remedy
from pg_catalog.pg_stat_database as d where d.checksum_failures > 0
"""

SERVER_CHECKS: Final[Sequence[SqlCheck]] = (
    SqlCheck(
        name="postgresql_version",
        group="server",
        severity="info",
        title="Version of PostgreSQL",
        why="Basalt is tested with PostgreSQL 15 and later.",
        statement=VERSION,
    ),
    SqlCheck(
        name="postgresql_settings",
        group="server",
        severity="warning",
        title="Settings of PostgreSQL",
        why="Data may be lost or what happens cannot be seen; without logical WAL Realtime tells no changes.",
        statement=SETTINGS,
    ),
    SqlCheck(
        name="pending_restart",
        group="server",
        severity="info",
        title="Settings that wait for a restart",
        why="What was set is not what counts.",
        statement=PENDING_RESTART,
    ),
    SqlCheck(
        name="checksum_failures",
        group="server",
        severity="error",
        title="Damaged pages",
        why="Data was changed on the disk behind PostgreSQL's back.",
        statement=DAMAGE,
    ),
    SqlCheck(
        name="collation_version",
        group="server",
        severity="warning",
        title="Collations that changed with the system",
        why="Indexes of text have another order than the system now: rows are not found, unique keys let doubles in.",
        statement=COLLATIONS,
    ),
    SqlCheck(
        name="outdated_extensions",
        group="server",
        severity="info",
        title="Extensions with a newer version",
        why="The library was replaced and its SQL was not.",
        statement=EXTENSIONS,
    ),
    SqlCheck(
        name="time_zone",
        group="server",
        severity="info",
        title="Time zone of the database",
        why="Supabase's is UTC: timestamps without a zone, dates and cron mean other instants here.",
        statement=ZONE,
    ),
    SqlCheck(
        name="cache_hits",
        group="server",
        severity="info",
        title="Reads from memory",
        why="Pages that are not in memory come from the disk, a hundred times slower.",
        statement=CACHE,
    ),
)
