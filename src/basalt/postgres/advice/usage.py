"""What statistics tell of a database that has been in use: whole tables read, indexes never used, rows left behind.

Statistics begin anew after a crash or `pg_stat_reset()`; checks that need a while say nothing about a young server.
"""

from collections.abc import Sequence
from typing import Final, LiteralString

from basalt.postgres.advice.sql_check import RELATIONS, SqlCheck

WHOLE_READS: Final[LiteralString] = (
    RELATIONS
    + """
select r.nspname as schema, format('%%I.%%I', r.nspname, r.relname) as subject,
    format('was read from end to end %%s times, %%s rows each, against %%s reads by an index',
        s.seq_scan, s.seq_tup_read / s.seq_scan, coalesce(s.idx_scan, 0)) as what
from relations as r join pg_catalog.pg_stat_user_tables as s on s.relid = r.oid
where s.n_live_tup >= 10000 and s.seq_scan >= 100 and s.seq_tup_read / s.seq_scan >= 5000
    and s.seq_scan > coalesce(s.idx_scan, 0) / 10
order by s.seq_tup_read desc
limit 20
"""
)

SLOW: Final[LiteralString] = """
select left(regexp_replace(s.query, '\\s+', ' ', 'g'), 100) as subject,
    format('took %%s ms on the average, %%s times, by %%s', round(s.mean_exec_time), s.calls,
        pg_get_userbyid(s.userid)) as what
from extensions.pg_stat_statements as s
join pg_catalog.pg_database as d on d.oid = s.dbid and d.datname = current_database()
where s.mean_exec_time > 500 and s.calls >= 10 and s.query !~* '^(vacuum|analyze|create index|copy|reindex|alter)'
order by s.total_exec_time desc
limit 10
"""

# Whoever drops what a foreign key or another index stands on is told that it is missing, or refused.
UNUSED: Final[LiteralString] = (
    RELATIONS
    + """
select r.nspname as schema, format('%%I.%%I', r.nspname, s.indexrelname) as subject,
    format('of %%I.%%I (%%s) has not been used since %%s', r.nspname, r.relname,
        pg_size_pretty(pg_relation_size(s.indexrelid)), to_char(began.at, 'YYYY-MM-DD')) as what,
    format('drop index %%I.%%I;', r.nspname, s.indexrelname) as remedy
from relations as r
join pg_catalog.pg_stat_user_indexes as s on s.relid = r.oid
join pg_catalog.pg_index as i on i.indexrelid = s.indexrelid
join pg_catalog.pg_class as x on x.oid = s.indexrelid and not x.relispartition
cross join (
    select coalesce(d.stats_reset, pg_postmaster_start_time()) as at
    from pg_catalog.pg_stat_database as d where d.datname = current_database()) as began
where s.idx_scan = 0 and not i.indisunique and not i.indisreplident and i.indisvalid
    and pg_relation_size(s.indexrelid) >= 1024 * 1024 and began.at < now() - interval '7 days'
    and not exists (select from pg_catalog.pg_constraint as k where k.conindid = s.indexrelid
        or k.conrelid = r.oid and k.contype = 'f'
            and (i.indkey::smallint[])[0:cardinality(k.conkey) - 1] @> k.conkey)
order by pg_relation_size(s.indexrelid) desc
limit 20
"""
)

DEAD_ROWS: Final[LiteralString] = """
select s.schemaname as schema, format('%%I.%%I', s.schemaname, s.relname) as subject,
    format('has %%s dead rows beside %%s live ones (%%s); last vacuumed %%s', s.n_dead_tup, s.n_live_tup,
        pg_size_pretty(pg_total_relation_size(s.relid)),
        coalesce(to_char(greatest(s.last_vacuum, s.last_autovacuum), 'YYYY-MM-DD HH24:MI'), 'never')) as what,
    format('vacuum (analyze) %%I.%%I;  -- and see who holds old rows: `basalt doctor --only locks,replication`',
        s.schemaname, s.relname) as remedy,
    case when s.n_dead_tup > 4 * s.n_live_tup and s.n_dead_tup > 1000000 then 'error' else 'warning' end as severity
from pg_catalog.pg_stat_user_tables as s
where s.n_dead_tup > 50000 and s.n_dead_tup > 0.4 * s.n_live_tup
order by s.n_dead_tup desc
limit 20
"""

VACUUM_OFF: Final[LiteralString] = """
select n.nspname as schema, coalesce(format('%%I.%%I', n.nspname, c.relname), 'autovacuum') as subject,
    case when c.oid is null then 'is off for the whole server' else 'is left out by autovacuum' end as what,
    case when c.oid is null then 'alter system set autovacuum = on; select pg_reload_conf();'
        else format('alter table %%I.%%I reset (autovacuum_enabled);', n.nspname, c.relname) end as remedy
from (select null::oid as oid where current_setting('autovacuum') = 'off'
    union all select c.oid from pg_catalog.pg_class as c
    where c.relkind in ('r', 'm') and exists (select from pg_options_to_table(c.reloptions)
        where option_name = 'autovacuum_enabled' and not option_value::boolean)) as found
left join pg_catalog.pg_class as c on c.oid = found.oid
left join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
order by 1
"""

WRAPAROUND: Final[LiteralString] = """
select d.datname as subject,
    format('holds transaction numbers %%s old, of %%s that PostgreSQL has', age(d.datfrozenxid), 2147483647) as what,
    'vacuum (freeze);  -- in that database; before it, end what holds it back (`--only locks,replication`)' as remedy,
    case when age(d.datfrozenxid) > 1500000000 then 'error' else 'warning' end as severity
from pg_catalog.pg_database as d
where d.datallowconn
    and age(d.datfrozenxid) > 2 * greatest(current_setting('autovacuum_freeze_max_age')::bigint, 200000000)
order by age(d.datfrozenxid) desc
"""

# The column ends where its type does, so that it has to grow too; an identity's sequence grows with it.
SEQUENCES: Final[LiteralString] = """
select s.schemaname as schema, format('%%I.%%I', s.schemaname, s.sequencename) as subject,
    format('has given out %%s of %%s numbers', s.last_value, s.max_value) as what,
    case when c.oid is null then ''
            else format('alter table %%I.%%I alter column %%I type bigint; ', n.nspname, c.relname, a.attname) end
        || case when d.deptype = 'i' then '' when s.data_type = 'bigint'::regtype
            then format('alter sequence %%I.%%I no maxvalue;', s.schemaname, s.sequencename)
            else format('alter sequence %%I.%%I as bigint;', s.schemaname, s.sequencename) end as remedy,
    case when s.last_value > 0.95 * s.max_value then 'error' else 'warning' end as severity
from pg_catalog.pg_sequences as s
left join pg_catalog.pg_depend as d on d.classid = 'pg_catalog.pg_class'::regclass
    and d.objid = format('%%I.%%I', s.schemaname, s.sequencename)::regclass and d.deptype in ('a', 'i')
    and d.refobjsubid > 0
left join pg_catalog.pg_attribute as a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
left join pg_catalog.pg_class as c on c.oid = d.refobjid
left join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where s.last_value > 0.75 * s.max_value and not s.cycle and s.increment_by > 0
order by 2
"""

UNUSED_INDEX: Final = SqlCheck(
    name="unused_index",
    group="usage",
    severity="info",
    title="Indexes that nothing uses",
    why="Every write keeps them up to date; on a replica, for rare reports, or when it is new, one may be wanted "
    "all the same.",
    statement=UNUSED,
)

USAGE_CHECKS: Final[Sequence[SqlCheck]] = (
    SqlCheck(
        name="sequential_scans",
        group="usage",
        severity="warning",
        title="Large tables that are read from end to end",
        why="Each such read takes longer as the table grows, and pushes everything else out of memory. Find the "
        "statement (pg_stat_statements, `explain`) and index what it filters by.",
        statement=WHOLE_READS,
    ),
    SqlCheck(
        name="slow_statements",
        group="usage",
        severity="info",
        title="Statements that take long",
        why="Such a statement holds a connection, and whoever waits behind it, for as long as it takes. "
        "`explain (analyze, buffers)` says what it reads in vain.",
        statement=SLOW,
        needs=["extensions.pg_stat_statements"],
    ),
    UNUSED_INDEX,
    SqlCheck(
        name="dead_rows",
        group="usage",
        severity="warning",
        title="Tables whose dead rows are not cleared away",
        why="They are read with every scan and fill the disk; autovacuum cannot keep up, or somebody holds old rows.",
        statement=DEAD_ROWS,
    ),
    SqlCheck(
        name="autovacuum_off",
        group="usage",
        severity="warning",
        title="Tables that autovacuum leaves out",
        why="Dead rows stay, statistics grow old, and in the end transaction numbers run out.",
        statement=VACUUM_OFF,
    ),
    SqlCheck(
        name="transaction_wraparound",
        group="usage",
        severity="warning",
        title="Old transaction numbers",
        why="When they run out PostgreSQL takes no more writes until a vacuum has gone through everything.",
        statement=WRAPAROUND,
    ),
    SqlCheck(
        name="sequence_exhausted",
        group="usage",
        severity="warning",
        title="Sequences near their end",
        why="After the last number every insert fails.",
        statement=SEQUENCES,
    ),
)
