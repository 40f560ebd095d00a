-- Feature flags. A flag that is on gives one of its variants to those whom its rules and its percentage take in, and its
-- `off_value` to everybody else; one that is off gives that to all.
create schema if not exists flags authorization supabase_admin;
comment on schema flags is 'Feature flags: flags.enabled(name) in policies, flags.mine for clients.';

-- `[{"name": "on", "value": true, "weight": 1}, …]`, values of the type of `off_value`.
create or replace function flags.are_variants(variants jsonb, off_value jsonb) returns boolean
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_typeof(variants) = 'array' and jsonb_array_length(variants) between 1 and 50
        and (select coalesce(bool_and(
                jsonb_typeof(v) = 'object'
                and coalesce(v ->> 'name' ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$' and v ->> 'name' <> 'off', false)
                and coalesce(jsonb_typeof(v -> 'value') = jsonb_typeof(off_value), false)
                and coalesce(v ->> 'weight' ~ '^[0-9]{1,6}$', false)), false)
                and count(distinct v ->> 'name') = count(*) and coalesce(bool_or(v ->> 'weight' ~ '[1-9]'), false)
             from jsonb_array_elements(case jsonb_typeof(variants) when 'array' then variants else '[]' end) as v);
$$;

comment on function flags.are_variants(jsonb, jsonb) is 'Whether a list of variants can be one of a flag''s.';

create table if not exists flags.flags (
    name text primary key check (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$'),
    description text not null default '',
    enabled boolean not null default false,
    rollout numeric(6, 3) not null default 100 check (rollout between 0 and 100),
    off_value jsonb not null default 'false' check (jsonb_typeof(off_value) <> 'null'),
    variants jsonb not null default '[{"name": "on", "value": true, "weight": 1}]',
    is_public boolean not null default true,
    starts_at timestamptz,
    ends_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint flags_variants_check check (flags.are_variants(variants, off_value)),
    constraint flags_schedule_check check (starts_at < ends_at)
);

comment on table flags.flags is 'Feature flags: switch, percentage, values and schedule of each.';
comment on column flags.flags.enabled is 'The switch: without it everybody has off_value, whatever else is set.';
comment on column flags.flags.rollout is 'Percentage of the users whom no rule decides about.';
comment on column flags.flags.is_public is 'Whether clients find it in flags.mine; policies ask for it in any case.';

-- Whoever is listed, or whose claims contain these.
create table if not exists flags.cohorts (
    name text primary key check (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$'),
    description text not null default '',
    user_ids text[] not null default '{}' check (array_position(user_ids, null) is null),
    claims jsonb check (jsonb_typeof(claims) = 'object'),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

comment on table flags.cohorts is 'Feature flags: groups of users, by list or by what their tokens say.';
comment on column flags.cohorts.claims is
    'What a token must contain, such as {"app_metadata": {"tier": "pro"}}. user_metadata is written by users themselves.';

-- The first one whose cohort the user belongs to decides.
create table if not exists flags.rules (
    flag_name text not null references flags.flags (name) on update cascade on delete cascade,
    position integer not null check (position > 0),
    cohort_name text not null references flags.cohorts (name) on update cascade,
    rollout numeric(6, 3) not null default 100 check (rollout between 0 and 100),
    variant text,
    primary key (flag_name, position)
);

comment on table flags.rules is 'Feature flags: which cohorts a flag decides about, in their order.';
create index if not exists rules_cohort_name_idx on flags.rules (cohort_name);

create table if not exists flags.audit (
    id bigint generated always as identity primary key,
    changed_at timestamptz not null default now(),
    changed_by text not null,
    role text not null,
    request_id text,
    subject text not null check (subject in ('flag', 'cohort', 'rule')),
    name text not null,
    action text not null check (action in ('insert', 'update', 'delete')),
    before jsonb,
    after jsonb
);

comment on table flags.audit is 'Feature flags: every change, by whom, before and after. Nothing is ever removed.';
create index if not exists audit_name_idx on flags.audit (name, id);

alter table flags.flags enable row level security;
alter table flags.cohorts enable row level security;
alter table flags.rules enable row level security;
alter table flags.audit enable row level security;

grant usage on schema flags to postgres, anon, authenticated, service_role;
grant select, insert, update, delete on flags.flags, flags.cohorts, flags.rules to postgres, service_role;
grant select on flags.audit to postgres, service_role;
