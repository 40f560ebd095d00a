"""Who is connected, for how long a transaction has been open, and who waits for whom."""

from collections.abc import Sequence
from typing import Final, LiteralString

from basalt.postgres import SqlCheck

CONNECTIONS: Final[LiteralString] = """
with held as (
    select coalesce(a.usename, '') || '/' || coalesce(nullif(a.application_name, ''), '(no name)') || ' '
            || coalesce(a.state, '(hidden)') as holder, count(*) as count
    from pg_catalog.pg_stat_activity as a
    where a.backend_type = 'client backend' and a.pid <> pg_backend_pid()
    group by 1
),
total as (
    select coalesce(sum(count), 0)::bigint as used,
        current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint as most,
        string_agg(count || ' × ' || holder, ', ' order by count desc, holder) as holders
    from held
)
select 'max_connections' as subject,
    format('%%s of %%s connections are in use: %%s', used, most, coalesce(holders, 'nobody')) as what,
    case when used > 0.8 * most then
        'end what is idle, lower basalt.lanes and basalt.worker.connections, or raise max_connections'
        end as remedy,
    case when used > 0.95 * most then 'error' when used > 0.8 * most then 'warning' else 'info' end as severity
from total
"""

ROLE_LIMITS: Final[LiteralString] = """
select r.rolname as subject,
    format('has %%s of its %%s connections in use', count(a.pid), r.rolconnlimit) as what,
    format('alter role %%I connection limit %%s;', r.rolname, r.rolconnlimit * 2) as remedy,
    case when count(a.pid) >= r.rolconnlimit then 'error' else 'warning' end as severity
from pg_catalog.pg_roles as r join pg_catalog.pg_stat_activity as a on a.usename = r.rolname
where r.rolconnlimit >= 0
group by r.rolname, r.rolconnlimit
having count(a.pid) > 0.8 * r.rolconnlimit
"""

IDLE_IN_TRANSACTION: Final[LiteralString] = """
select format('pid %%s', a.pid) as subject,
    format('%%s/%%s has been idle in a transaction for %%s; last statement: %%s', a.usename,
        coalesce(nullif(a.application_name, ''), '(no name)'), date_trunc('second', now() - a.state_change),
        left(regexp_replace(a.query, '\\s+', ' ', 'g'), 80)) as what,
    format('select pg_terminate_backend(%%s);  -- alter role %%I set idle_in_transaction_session_timeout = ''60s'';',
        a.pid, a.usename) as remedy,
    case when a.state_change < now() - interval '30 minutes' then 'error' else 'warning' end as severity
from pg_catalog.pg_stat_activity as a
where a.state like 'idle in transaction%%' and a.state_change < now() - interval '1 minute'
order by a.state_change
limit 50
"""

LONG_TRANSACTIONS: Final[LiteralString] = """
select format('pid %%s', a.pid) as subject,
    format('%%s/%%s has had a transaction open for %%s: %%s', a.usename,
        coalesce(nullif(a.application_name, ''), '(no name)'), date_trunc('second', now() - a.xact_start),
        left(regexp_replace(a.query, '\\s+', ' ', 'g'), 80)) as what,
    format('select pg_cancel_backend(%%s);', a.pid) as remedy,
    case when a.xact_start < now() - interval '6 hours' then 'error' else 'warning' end as severity
from pg_catalog.pg_stat_activity as a
where a.state = 'active' and a.xact_start < now() - interval '15 minutes' and a.backend_type = 'client backend'
order by a.xact_start
limit 50
"""

PREPARED: Final[LiteralString] = """
select p.gid as subject,
    format('was prepared by %%s %%s ago in database %%s and never ended', p.owner,
        date_trunc('second', now() - p.prepared), p.database) as what,
    format('rollback prepared %%L;', p.gid) as remedy,
    case when p.prepared < now() - interval '1 hour' then 'error' else 'warning' end as severity
from pg_catalog.pg_prepared_xacts as p
where p.prepared < now() - interval '5 minutes'
order by p.prepared
"""

BLOCKED: Final[LiteralString] = """
select format('pid %%s', w.pid) as subject,
    format('%%s/%%s has waited %%s for %%s of pid %%s (%%s/%%s, %%s): %%s', w.usename,
        coalesce(nullif(w.application_name, ''), '(no name)'), date_trunc('second', now() - w.state_change),
        coalesce((select l.mode || ' on ' || coalesce(l.relation::regclass::text, l.locktype)
            from pg_catalog.pg_locks as l where l.pid = w.pid and not l.granted limit 1), 'a lock'),
        b.pid, b.usename, coalesce(nullif(b.application_name, ''), '(no name)'), b.state,
        left(regexp_replace(w.query, '\\s+', ' ', 'g'), 80)) as what,
    format('select pg_cancel_backend(%%s);  -- the blocker, which does: %%s', b.pid,
        left(regexp_replace(b.query, '\\s+', ' ', 'g'), 80)) as remedy,
    case when w.state_change < now() - interval '1 minute' then 'error' else 'warning' end as severity
from pg_catalog.pg_stat_activity as w
cross join unnest(pg_blocking_pids(w.pid)) as blocker
join pg_catalog.pg_stat_activity as b on b.pid = blocker
where w.wait_event_type = 'Lock' and w.state_change < now() - interval '1 second'
order by w.state_change
limit 50
"""

SESSION_CHECKS: Final[Sequence[SqlCheck]] = (
    SqlCheck(
        name="connection_use",
        group="connections",
        severity="info",
        title="Connections",
        why="At the limit new connections are refused: requests wait, and operators cannot log in.",
        statement=CONNECTIONS,
    ),
    SqlCheck(
        name="role_connection_limit",
        group="connections",
        severity="warning",
        title="Roles at their limit of connections",
        why="Further connections of that role are refused.",
        statement=ROLE_LIMITS,
    ),
    SqlCheck(
        name="idle_in_transaction",
        group="locks",
        severity="warning",
        title="Transactions that were left open",
        why="It keeps its locks, and no row that was deleted since can be cleared away in any table.",
        statement=IDLE_IN_TRANSACTION,
    ),
    SqlCheck(
        name="long_transaction",
        group="locks",
        severity="warning",
        title="Transactions that take long",
        why="No row that was deleted since it began can be cleared away; tables and indexes swell.",
        statement=LONG_TRANSACTIONS,
    ),
    SqlCheck(
        name="prepared_transaction",
        group="locks",
        severity="warning",
        title="Prepared transactions that nobody ends",
        why="They keep locks and old rows through restarts, without any session that shows them.",
        statement=PREPARED,
    ),
    SqlCheck(
        name="blocked",
        group="locks",
        severity="warning",
        title="Sessions that wait for a lock",
        why="Whoever comes after them waits too; requests run into their time limits.",
        statement=BLOCKED,
    ),
)
