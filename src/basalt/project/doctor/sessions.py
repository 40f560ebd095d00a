"""Who is connected, for how long a transaction has been open, and who waits for whom.

Statements are shown without the texts in them: `alter role … password '…'` is one.
"""

from collections.abc import Sequence
from typing import Final, LiteralString

from basalt.postgres import SqlCheck

# A text ends with its quote, or where the statement was cut off.
QUERY: Final[LiteralString] = (
    "left(regexp_replace(regexp_replace(a.query, '\\s+', ' ', 'g'), $re$'[^']*('|$)$re$, $re$'…'$re$, 'g'), 80)"
)

# Of others' sessions a role outside pg_monitor is shown the name and nothing else.
CONNECTIONS: Final[LiteralString] = """
with held as (
    select coalesce(a.usename, '') || '/' || coalesce(nullif(a.application_name, ''), '(no name)') || ' '
            || coalesce(a.state, '(hidden)') as holder, count(*) as count
    from pg_catalog.pg_stat_activity as a
    where coalesce(a.backend_type, 'client backend') = 'client backend' and a.datid is not null
        and a.pid <> pg_backend_pid()
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
        %(query)s) as what,
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
        %(query)s) as what,
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

# `pg_blocking_pids` stops the whole lock manager for a moment: it is asked of the longest waits alone. A session that
# is idle in a transaction has nothing to cancel.
BLOCKED: Final[LiteralString] = """
with waits as materialized (
    select l.pid, coalesce(l.waitstart, now()) as since,
        l.mode || ' on '
            || coalesce(case when l.database = d.oid then l.relation::regclass::text end, l.locktype) as lock
    from pg_catalog.pg_locks as l
    join pg_catalog.pg_database as d on d.datname = current_database()
    where not l.granted
    order by 2
    limit 20
)
select format('pid %%s', a.pid) as subject,
    format('%%s/%%s has waited %%s for %%s of pid %%s (%%s/%%s, %%s): %%s', a.usename,
        coalesce(nullif(a.application_name, ''), '(no name)'), date_trunc('second', clock_timestamp() - w.since),
        w.lock, b.pid, b.usename, coalesce(nullif(b.application_name, ''), '(no name)'), b.state,
        %(query)s) as what,
    format(case when b.state like 'idle%%' then 'select pg_terminate_backend(%%s);'
        else 'select pg_cancel_backend(%%s);' end, b.pid) as remedy,
    case when w.since < now() - interval '1 minute' then 'error' else 'warning' end as severity
from waits as w
join pg_catalog.pg_stat_activity as a on a.pid = w.pid
cross join unnest(pg_blocking_pids(a.pid)) as blocker
join pg_catalog.pg_stat_activity as b on b.pid = blocker
where w.since < clock_timestamp() - interval '1 second'
order by w.since
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
        statement=IDLE_IN_TRANSACTION.replace("%(query)s", QUERY),
    ),
    SqlCheck(
        name="long_transaction",
        group="locks",
        severity="warning",
        title="Transactions that take long",
        why="No row that was deleted since it began can be cleared away; tables and indexes swell.",
        statement=LONG_TRANSACTIONS.replace("%(query)s", QUERY),
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
        statement=BLOCKED.replace("%(query)s", QUERY),
    ),
)
