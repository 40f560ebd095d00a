-- What is broadcast from the database, and who has subscribed to what.

-- `postgres` owns the publication: projects add their tables to it.
do $$
begin
    if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
        if has_database_privilege('postgres', current_database(), 'create') then
            set local role postgres;
        end if;
        perform pg_temp.attempt('create publication supabase_realtime');
        reset role;
    end if;
end
$$;

set local role supabase_realtime_admin;

do $$
begin
    if to_regtype('realtime.action') is null then
        create type realtime.action as enum ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'ERROR');
    end if;
    if to_regtype('realtime.equality_op') is null then
        create type realtime.equality_op as enum (
            'eq', 'neq', 'lt', 'lte', 'gt', 'gte', 'in', 'like', 'ilike', 'is', 'match', 'imatch', 'isdistinct');
    end if;
    if to_regtype('realtime.user_defined_filter') is null then
        create type realtime.user_defined_filter as (
            column_name text, op realtime.equality_op, value text, negate boolean);
    end if;
    if to_regtype('realtime.wal_column') is null then
        create type realtime.wal_column as (
            name text, type_name text, type_oid oid, value jsonb, is_pkey boolean, is_selectable boolean);
    end if;
    if to_regtype('realtime.wal_rls') is null then
        create type realtime.wal_rls as (
            wal jsonb, is_rls_enabled boolean, subscription_ids uuid[], errors text[]);
    end if;
end
$$;

create table if not exists realtime.messages (
    topic text not null,
    extension text not null,
    payload jsonb,
    event text,
    private boolean default false,
    updated_at timestamp not null default now(),
    inserted_at timestamp not null default now(),
    id uuid not null default gen_random_uuid(),
    binary_payload bytea,
    primary key (id, inserted_at),
    constraint messages_payload_exclusive check (payload is null or binary_payload is null)
) partition by range (inserted_at);

comment on table realtime.messages is
    'Realtime: Messages broadcast from the database, one partition per day; its policies decide on private channels.';
create index if not exists messages_inserted_at_topic_index on realtime.messages (inserted_at desc, topic)
    where extension = 'broadcast' and private is true;
alter table realtime.messages enable row level security;
grant select, insert, update on realtime.messages to postgres, anon, authenticated, service_role;
grant all on realtime.messages to dashboard_user;

-- Generated columns want an immutable function; a role's number does not change while rows with it live.
create or replace function realtime.to_regrole(role_name text) returns regrole
language sql immutable
as $$
    select role_name::regrole
$$;

comment on function realtime.to_regrole(text) is 'The role of that name; an error when there is none.';

create table if not exists realtime.subscription (
    id bigint generated always as identity,
    subscription_id uuid not null,
    entity regclass not null,
    filters realtime.user_defined_filter[] not null default '{}',
    claims jsonb not null,
    claims_role regrole not null generated always as (realtime.to_regrole(claims ->> 'role')) stored,
    created_at timestamp not null default timezone('utc', now()),
    action_filter text default '*' check (action_filter in ('*', 'INSERT', 'UPDATE', 'DELETE')),
    selected_columns text[],
    constraint pk_subscription primary key (id)
);

comment on table realtime.subscription is 'Realtime: Who has subscribed to the changes of which table.';
create index if not exists ix_realtime_subscription_entity on realtime.subscription (entity);
create unique index if not exists subscription_subscription_id_entity_filters_action_filter_selec
    on realtime.subscription (subscription_id, entity, filters, action_filter, coalesce(selected_columns, '{}'));
grant select on realtime.subscription to postgres, anon, authenticated, service_role;
grant all on realtime.subscription to dashboard_user;

create table if not exists realtime.schema_migrations (
    version bigint primary key,
    inserted_at timestamp(0)
);

comment on table realtime.schema_migrations is 'Realtime: Kept for tools that look for it; the bootstrap has its own table.';

-- The server's own: inserts into realtime.messages become broadcasts.
do $$
begin
    if not exists (
        select from pg_catalog.pg_publication where pubname = 'supabase_realtime_messages_publication'
    ) then
        perform pg_temp.attempt(
            'create publication supabase_realtime_messages_publication for table realtime.messages');
    end if;
end
$$;
