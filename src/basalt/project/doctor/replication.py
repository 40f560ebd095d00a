"""Slots that keep write-ahead log, and archiving that fails: what fills a disk without any table growing."""

from collections.abc import Sequence
from typing import Final, LiteralString

from basalt.postgres import SqlCheck

SLOTS: Final[LiteralString] = """
with slots as (
    select s.*, coalesce(pg_wal_lsn_diff(
        case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end, s.restart_lsn), 0)
            as kept
    from pg_catalog.pg_replication_slots as s
)
select s.slot_name::text as subject,
    case
        when s.wal_status in ('unreserved', 'lost') then format('has lost write-ahead log that it needs (%%s)',
            s.wal_status)
        when s.active then format('lags %%s behind', pg_size_pretty(s.kept))
        else format('is inactive and keeps %%s of write-ahead log', pg_size_pretty(s.kept)) end as what,
    case when s.active then 'see why its reader is slow: select * from pg_stat_replication;'
        when s.slot_name = 'basalt_backup' then 'start a worker, which archives: `basalt worker DIR`'
        else format('select pg_drop_replication_slot(%%L);  -- if nobody is to come back for it', s.slot_name) end
            as remedy,
    case
        when s.wal_status in ('unreserved', 'lost') or s.kept > 10 * 1024::bigint ^ 3 then 'error'
        when not s.active or s.kept > 512 * 1024 ^ 2 then 'warning'
        else 'info' end as severity
from slots as s
where not s.temporary and (not s.active or s.kept > 64 * 1024 ^ 2)
    or s.temporary and s.kept > 512 * 1024 ^ 2
order by s.kept desc
"""

SLOT_COUNT: Final[LiteralString] = """
select 'max_replication_slots' as subject,
    format('%%s of %%s slots are taken', count(*), current_setting('max_replication_slots')) as what,
    'alter system set max_replication_slots = 20;  -- and restart; every gateway with Realtime takes one' as remedy,
    case when count(*) >= current_setting('max_replication_slots')::bigint then 'error' else 'warning' end as severity
from pg_catalog.pg_replication_slots
having count(*) >= 0.8 * current_setting('max_replication_slots')::bigint
"""

UNBOUNDED: Final[LiteralString] = """
select 'max_slot_wal_keep_size' as subject,
    format('has no limit, and %%s slots outlive their readers', count(*)) as what,
    'alter system set max_slot_wal_keep_size = ''10GB''; select pg_reload_conf();' as remedy
from pg_catalog.pg_replication_slots as s
where not s.temporary and current_setting('max_slot_wal_keep_size') = '-1'
having count(*) > 0
"""

ARCHIVE: Final[LiteralString] = """
select 'archive_command' as subject,
    format('has failed %%s times, last at %%s for %%s; %%s was archived last', a.failed_count,
        to_char(a.last_failed_time at time zone 'utc', 'YYYY-MM-DD HH24:MI"Z"'), a.last_failed_wal,
        coalesce(a.last_archived_wal, 'nothing')) as what,
    'read the reason in PostgreSQL''s log; write-ahead log is kept until it succeeds' as remedy
from pg_catalog.pg_stat_archiver as a
where current_setting('archive_mode') <> 'off' and a.last_failed_time > coalesce(a.last_archived_time, '-infinity')
"""

REPLICATION_CHECKS: Final[Sequence[SqlCheck]] = (
    SqlCheck(
        name="replication_slots",
        group="replication",
        severity="warning",
        title="Replication slots that keep write-ahead log",
        why="PostgreSQL keeps all that a slot has not read, until the disk is full; then it stops.",
        statement=SLOTS,
    ),
    SqlCheck(
        name="slots_taken",
        group="replication",
        severity="warning",
        title="Replication slots near their number",
        why="A gateway that gets none delivers no changes of tables to Realtime.",
        statement=SLOT_COUNT,
    ),
    SqlCheck(
        name="slots_unbounded",
        group="replication",
        severity="info",
        title="Slots without a limit",
        why="A slot whose reader went away keeps write-ahead log until the disk is full.",
        statement=UNBOUNDED,
    ),
    SqlCheck(
        name="archiving_fails",
        group="replication",
        severity="error",
        title="Archiving of write-ahead log",
        why="Nothing after the last archived file can be restored from the archive, and the rest fills the disk.",
        statement=ARCHIVE,
    ),
)
