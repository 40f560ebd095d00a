-- Tables whose changes are told: open ones and guarded ones, with every replica identity.

create table public.todos (
    id bigint generated always as identity primary key,
    title text not null,
    done boolean not null default false,
    details text
);
alter table public.todos alter column details set storage external;

create table public.tasks (
    id bigint generated always as identity primary key,
    title text not null,
    done boolean not null default false
);
alter table public.tasks replica identity full;

-- Everybody sees their own.
create table public.notes (
    id bigint generated always as identity primary key,
    owner uuid not null default auth.uid(),
    body text not null
);
alter table public.notes replica identity full;
alter table public.notes enable row level security;
create policy "owners keep their own" on public.notes to authenticated
    using (owner = (select auth.uid())) with check (owner = (select auth.uid()));

-- A salary is nobody's business.
create table public.people (id int primary key, name text not null, salary int not null);
alter table public.people replica identity full;
revoke select on public.people from anon, authenticated;
grant select (id, name) on public.people to anon, authenticated;

create table public.secrets (id int primary key, content text);
revoke select on public.secrets from anon, authenticated;

create table public.keyless (content text);

create table public.measures (
    id bigint generated always as identity primary key,
    batch text not null,
    name text not null,
    amount numeric,
    active boolean,
    taken_on date
);

create type public.mood as enum ('glad', 'sad');
create type public.place as (street text, number int);
create domain public.short as text check (length(value) < 10);

create table public.samples (
    id uuid primary key default gen_random_uuid(),
    small smallint,
    whole int,
    big bigint,
    exact numeric(10, 3),
    single real,
    double double precision,
    truth boolean,
    words text,
    few varchar(20),
    padded char(5),
    day date,
    clock time,
    clock_zone timetz,
    moment timestamp,
    instant timestamptz,
    span interval,
    raw json,
    tree jsonb,
    bytes bytea,
    numbers int[],
    names text[],
    grid int[][],
    feeling public.mood,
    feelings public.mood[],
    home public.place,
    brief public.short,
    days daterange,
    address inet,
    spot point,
    price money,
    flags bit(4),
    nothing text
);

create table public.unpublished (id int primary key);
create table public.late (id int primary key);

create schema archive;
grant usage on schema archive to anon, authenticated, service_role;
create table archive.entries (id bigint generated always as identity primary key, title text not null);
grant all on archive.entries to anon, authenticated, service_role;

alter publication supabase_realtime add table
    public.todos, public.tasks, public.notes, public.people, public.secrets, public.keyless, public.measures, public.samples,
    archive.entries;

-- What no client may do by itself.
create function public.publish_late(published boolean) returns void language plpgsql security definer set search_path = ''
as $$
begin
    if published then
        alter publication supabase_realtime add table public.late;
    else
        alter publication supabase_realtime drop table public.late;
    end if;
end
$$;

create function public.add_and_fail(title text) returns void language plpgsql
as $$
begin
    insert into public.todos (title) values (title);
    raise exception 'not this time';
end
$$;
