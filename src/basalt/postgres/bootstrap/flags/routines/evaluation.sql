-- What a flag gives to whom. `basalt/flags/evaluation.py` says the same in Python, and a test that both do.

-- The first 32 bits of SHA-256 of `salt:key`: where a user stands between 0 and 2^32, the same everywhere and for ever.
create or replace function flags.bucket(salt text, key text) returns bigint
language sql
immutable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select ('x' || left(encode(sha256(convert_to(salt || ':' || key, 'UTF8')), 'hex'), 8))::bit(32)::bigint;
$$;

comment on function flags.bucket(text, text) is 'A stable number from 0 to 4294967295 for a flag and a user.';

create or replace function flags.is_in_rollout(flag_name text, key text, rollout numeric) returns boolean
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select rollout >= 100 or coalesce(flags.bucket(flag_name, key) * 100 < rollout * 4294967296, false);
$$;

comment on function flags.is_in_rollout(text, text, numeric) is
    'Whether a percentage of a flag takes a user in. Who is in stays in while it grows; without a user only 100 does.';

-- `key` is what is hashed, `user_id` what cohorts list: a caller without a token may choose the first one.
create or replace function flags.decide(
    flag flags.flags, key text, user_id text, claims jsonb, out value jsonb, out variant text, out reason text)
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    rule record;
    point bigint;
    is_in boolean;
    chosen jsonb;
begin
    value := flag.off_value;
    variant := 'off';
    if not flag.enabled or flag.starts_at > now() or flag.ends_at <= now() then
        reason := 'DISABLED';
        return;
    end if;
    select r.rollout, r.variant into rule
    from flags.rules as r
    join flags.cohorts as c on c.name = r.cohort_name
    where r.flag_name = flag.name and (coalesce(decide.user_id = any(c.user_ids), false)
            or coalesce(coalesce(decide.claims, '{}') @> c.claims, false))
    order by r.position
    limit 1;
    if found then
        reason := 'TARGETING_MATCH';
        is_in := flags.is_in_rollout(flag.name, key, rule.rollout);
        select v into chosen from jsonb_array_elements(flag.variants) as v where v ->> 'name' = rule.variant;
    else
        reason := case
            when flag.rollout = 0 or flag.rollout = 100 and jsonb_array_length(flag.variants) = 1 then 'STATIC'
            else 'SPLIT' end;
        is_in := flags.is_in_rollout(flag.name, key, flag.rollout);
    end if;
    if not is_in then
        return;
    end if;
    if chosen is null then
        point := coalesce(flags.bucket(flag.name || ':variant', key), 0);
        select w.v into chosen
        from (select v, position, sum((v ->> 'weight')::bigint) over (order by position) as upto,
                sum((v ->> 'weight')::bigint) over () as total
              from jsonb_array_elements(flag.variants) with ordinality as a (v, position)) as w
        where (point * w.total)::bigint >> 32 < w.upto
        order by w.upto, w.position
        limit 1;
    end if;
    value := chosen -> 'value';
    variant := chosen ->> 'name';
end
$$;

comment on function flags.decide(flags.flags, text, text, jsonb) is 'What one flag gives to one user, and why.';

create or replace function flags.enabled(name text, fallback boolean default false) returns boolean
language plpgsql
stable
parallel safe
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    claims constant jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
    flag flags.flags;
    decided record;
begin
    select * into flag from flags.flags as f where f.name = enabled.name;
    if not found then
        return fallback;
    end if;
    select * into decided from flags.decide(flag, claims ->> 'sub', claims ->> 'sub', claims);
    return case jsonb_typeof(decided.value) when 'boolean' then decided.value::boolean else decided.variant <> 'off' end;
end
$$;

comment on function flags.enabled(text, boolean) is
    'Whether the caller has a feature. In policies: (select flags.enabled(''name'')), so that it is asked once a statement.';

create or replace function flags.value(name text, fallback jsonb default null) returns jsonb
language plpgsql
stable
parallel safe
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    claims constant jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
    flag flags.flags;
begin
    select * into flag from flags.flags as f where f.name = value.name;
    if not found then
        return fallback;
    end if;
    return (select d.value from flags.decide(flag, claims ->> 'sub', claims ->> 'sub', claims) as d);
end
$$;

comment on function flags.value(text, jsonb) is 'What a flag gives to the caller; `fallback` where there is no such flag.';

create or replace function flags.evaluate(key text default null)
returns table (name text, value jsonb, variant text)
language sql
stable
parallel safe
security definer
set search_path = pg_catalog, pg_temp
as $$
    select f.name, d.value, d.variant
    from (select nullif(current_setting('request.jwt.claims', true), '')::jsonb as claims) as caller
    cross join flags.flags as f
    cross join lateral flags.decide(f, coalesce(caller.claims ->> 'sub', left(key, 200)), caller.claims ->> 'sub', caller.claims)
        as d
    where f.is_public
    order by f.name;
$$;

comment on function flags.evaluate(text) is
    'All public flags for the caller. `key` stands for a caller without a user, such as the id of a device.';

create or replace function flags.evaluate_for(user_id text, claims jsonb default '{}')
returns table (name text, value jsonb, variant text, reason text)
language sql
stable
parallel safe
security definer
set search_path = pg_catalog, pg_temp
as $$
    select f.name, d.value, d.variant, d.reason
    from flags.flags as f
    cross join lateral flags.decide(f, evaluate_for.user_id, evaluate_for.user_id, evaluate_for.claims) as d
    order by f.name;
$$;

comment on function flags.evaluate_for(text, jsonb) is 'All flags for a user, and why; for service_role.';

-- With its owner's rights, as the functions have: callers see what they are given, not what decides it.
create or replace view flags.mine with (security_barrier) as select name, value, variant from flags.evaluate();
comment on view flags.mine is 'All public flags for the caller.';

create or replace function flags.definitions() returns jsonb
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'flags', (select coalesce(jsonb_agg(to_jsonb(f) || jsonb_build_object('rules', (
                select coalesce(jsonb_agg(to_jsonb(r) order by r.position), '[]') from flags.rules as r where r.flag_name = f.name))),
            '[]') from flags.flags as f),
        'cohorts', (select coalesce(jsonb_agg(to_jsonb(c)), '[]') from flags.cohorts as c));
$$;

comment on function flags.definitions() is 'Everything that decides, for processes that evaluate flags in memory.';

revoke execute on all functions in schema flags from public;
grant execute on function flags.enabled(text, boolean), flags.value(text, jsonb), flags.evaluate(text)
    to postgres, anon, authenticated, service_role;
grant execute on function flags.evaluate_for(text, jsonb), flags.definitions(), flags.bucket(text, text) to postgres, service_role;
grant execute on function flags.are_variants(jsonb, jsonb) to postgres, service_role;
grant select on flags.mine to postgres, anon, authenticated, service_role;
