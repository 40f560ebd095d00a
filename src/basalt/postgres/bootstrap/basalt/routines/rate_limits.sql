-- Rate limits. Only the gateway's own login may call these: who is counted under which key is settled before, in the gateway.

-- `wanted` is a list of objects: `key`, `interval_s` (of one use), `most_s` (how far ahead an empty bucket's instant is) and
-- `binding`. All or none: what one binding bucket refuses is counted by no other one. Rows are locked in one order, so that two
-- requests never wait for each other, and the clock is read when they are locked. A bucket is never further ahead than `most_s`,
-- also where the clock has been set back.
create or replace function basalt.use_rates(wanted jsonb, peek boolean, out is_over boolean, out full_in_s double precision)
returns setof record
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    moment timestamptz;
    is_refused boolean;
begin
    if not peek then
        insert into basalt.rate_limits (key, full_at)
        select distinct w.key, '-infinity'::timestamptz
        from jsonb_to_recordset(wanted) as w (key text)
        order by w.key
        on conflict (key) do update set full_at = excluded.full_at where false;  -- which locks it and no more
    end if;
    moment := clock_timestamp();
    select peek or coalesce(bool_or(s.binding and s.ahead_s + s.interval_s - s.most_s > 0.000001), false) into is_refused
    from basalt.standings_of_rates(wanted, moment) as s;
    if not is_refused then
        return query
        with told as (
            select s.*, s.ahead_s + s.interval_s - s.most_s > 0.000001 as is_over
            from basalt.standings_of_rates(wanted, moment) as s
        ), taken as (
            update basalt.rate_limits as r
            set full_at = moment + make_interval(secs => told.ahead_s + told.interval_s)
            from told
            where r.key = told.key and not told.is_over
        )
        select told.is_over, told.ahead_s + case when told.is_over then 0 else told.interval_s end
        from told
        order by told.place;
    else
        return query
        select s.ahead_s + s.interval_s - s.most_s > 0.000001, s.ahead_s
        from basalt.standings_of_rates(wanted, moment) as s
        order by s.place;
    end if;
end
$$;

comment on function basalt.use_rates(jsonb, boolean) is
    'Uses one of each bucket, or none where a binding one has nothing left; what each one says after that.';

create or replace function basalt.standings_of_rates(wanted jsonb, moment timestamptz)
returns table (place bigint, key text, interval_s double precision, most_s double precision, binding boolean,
    ahead_s double precision)
language sql
stable
as $$
    select w.place, w.use ->> 'key', (w.use ->> 'interval_s')::double precision, (w.use ->> 'most_s')::double precision,
        (w.use ->> 'binding')::boolean,
        case when r.full_at > moment
            then least(extract(epoch from r.full_at - moment)::double precision, (w.use ->> 'most_s')::double precision)
            else 0 end
    from jsonb_array_elements(wanted) with ordinality as w (use, place)
    left join basalt.rate_limits as r on r.key = w.use ->> 'key';
$$;

comment on function basalt.standings_of_rates(jsonb, timestamptz) is 'What the buckets say at a moment, with nothing used.';

create or replace function basalt.purge_rates(batch_size integer) returns bigint
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    with full_again as (
        select r.key from basalt.rate_limits as r where r.full_at <= now() limit batch_size for update skip locked
    ), gone as (
        delete from basalt.rate_limits as r using full_again where r.key = full_again.key returning 1
    )
    select count(*) from gone;
$$;

comment on function basalt.purge_rates(integer) is 'Removes buckets that are full; how many.';

revoke execute on function basalt.use_rates(jsonb, boolean), basalt.standings_of_rates(jsonb, timestamptz),
    basalt.purge_rates(integer) from public;
grant usage on schema basalt to authenticator;
grant execute on function basalt.use_rates(jsonb, boolean), basalt.purge_rates(integer) to authenticator;
