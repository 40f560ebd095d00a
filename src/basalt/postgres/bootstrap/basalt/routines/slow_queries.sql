-- Which statements take the time of this database, by pg_stat_statements. The private cluster counts from its start on;
-- `create extension pg_stat_statements` makes it visible.

create or replace function basalt.read_slow_queries()
returns table (
    query text, role text, calls bigint, total_ms double precision, mean_ms double precision, max_ms double precision,
    rows_per_call double precision, share_from_memory double precision, query_id bigint)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    place text := (
        select quote_ident(n.nspname) from pg_extension as e join pg_namespace as n on n.oid = e.extnamespace
        where e.extname = 'pg_stat_statements');
begin
    if current_setting('shared_preload_libraries') !~ '\mpg_stat_statements\M' then
        raise notice 'This server does not count statements: pg_stat_statements is not in its shared_preload_libraries';
        return;
    end if;
    if place is null then
        raise notice 'Statements are counted and cannot be read yet: create extension pg_stat_statements with schema extensions';
        return;
    end if;
    return query execute format(
        $query$
            select s.query, pg_get_userbyid(s.userid)::text, s.calls, s.total_exec_time, s.mean_exec_time, s.max_exec_time,
                s.rows::double precision / greatest(s.calls, 1),
                case when s.shared_blks_hit + s.shared_blks_read > 0
                    then s.shared_blks_hit::double precision / (s.shared_blks_hit + s.shared_blks_read) end,
                s.queryid
            from %s.pg_stat_statements as s
            where s.dbid = (select d.oid from pg_database as d where d.datname = current_database()) and s.toplevel
            order by s.total_exec_time desc
        $query$, place);
exception
    when insufficient_privilege or undefined_table or undefined_column or object_not_in_prerequisite_state then
        raise notice 'Statements cannot be read here: %', sqlerrm;
end
$$;

comment on function basalt.read_slow_queries() is 'What `basalt.slow_queries` shows.';

create or replace view basalt.slow_queries as select * from basalt.read_slow_queries();

comment on view basalt.slow_queries is
    'Statements of this database, those that took the most time altogether first; constants are $1, $2, …. Empty, with a '
    'notice that says why, where the server does not count them.';

revoke all on basalt.slow_queries from public;
revoke execute on function basalt.read_slow_queries() from public;
grant select on basalt.slow_queries to postgres, service_role;
grant execute on function basalt.read_slow_queries() to postgres, service_role;
