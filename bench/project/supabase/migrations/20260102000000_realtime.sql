-- Tables whose changes are streamed: one that everybody may read, one of rows that have an owner, one whose rows are for
-- the members of a team, and one like it whose policy raises for some of the members.

create table public.open_changes (
    id bigint generated always as identity primary key,
    title text not null,
    amount numeric not null default 12.50,
    created_at timestamptz not null default now()
);

create table public.own_changes (
    id bigint generated always as identity primary key,
    owner uuid not null,
    title text not null,
    amount numeric not null default 12.50,
    created_at timestamptz not null default now()
);

create table public.team_changes (
    id bigint generated always as identity primary key,
    team_id int not null,
    title text not null,
    amount numeric not null default 12.50,
    created_at timestamptz not null default now()
);

create table public.raising_changes (like public.team_changes including all);

-- `divisor` is 0 for those for whom the policy of `raising_changes` is to raise.
create table public.members (
    user_id uuid not null,
    team_id int not null,
    divisor int not null default 1,
    primary key (user_id, team_id)
);

insert into public.members (user_id, team_id, divisor)
select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 1, (n >= 50)::int
from generate_series(0, 4999) as n;

grant select on public.open_changes, public.own_changes, public.team_changes, public.raising_changes, public.members
to authenticated;

alter table public.own_changes enable row level security;
alter table public.team_changes enable row level security;
alter table public.raising_changes enable row level security;
alter table public.members enable row level security;

create policy "owners read their own" on public.own_changes
for select to authenticated using (owner = (select auth.uid()));

create policy "members read about their team" on public.team_changes
for select to authenticated using (
    team_id in (select m.team_id from public.members as m where m.user_id = (select auth.uid()))
);

create policy "members read about their team unless it raises" on public.raising_changes
for select to authenticated using (
    team_id in (select m.team_id from public.members as m where m.user_id = (select auth.uid()) and 1 / m.divisor = 1)
);

create policy "people read their own memberships" on public.members
for select to authenticated using (user_id = (select auth.uid()));

alter publication supabase_realtime
add table public.open_changes, public.own_changes, public.team_changes, public.raising_changes;
