-- 100,000 notes of 5,000 people, 20 each, a comment on each note and a reaction to each comment, and 10,000 articles of
-- one person: every row is seen by its owner alone.

create table public.notes (
    id bigint generated always as identity primary key,
    owner uuid not null default auth.uid(),
    title text not null,
    body text not null,
    priority int not null,
    created_at timestamptz not null default now()
);

create table public.comments (
    id bigint generated always as identity primary key,
    note_id bigint not null references public.notes (id),
    owner uuid not null default auth.uid(),
    body text not null
);

create table public.reactions (
    id bigint generated always as identity primary key,
    comment_id bigint not null references public.comments (id),
    owner uuid not null default auth.uid(),
    kind text not null
);

create table public.articles (
    id bigint primary key,
    owner uuid not null default auth.uid(),
    title text not null,
    amount numeric not null,
    created_at timestamptz not null default now()
);

create table public.entries (
    id bigint generated always as identity primary key,
    owner uuid not null default auth.uid(),
    title text not null,
    amount numeric not null,
    created_at timestamptz not null default now()
);

comment on table public.notes is 'What the benchmark reads.';
comment on table public.comments is 'What the benchmark embeds.';
comment on table public.reactions is 'What the benchmark embeds in comments.';
comment on table public.articles is 'What the benchmark looks up and upserts.';
comment on table public.entries is 'What the benchmark inserts.';

create function public.bench_owner(number bigint) returns uuid
language sql immutable
return ('00000000-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid;

comment on function public.bench_owner is 'The user id of person 0 to 4999.';

insert into public.notes (owner, title, body, priority, created_at)
select
    public.bench_owner(number % 5000),
    'Note number ' || number,
    repeat('All the words that a note has. ', 3),
    number % 10,
    timestamptz '2026-01-01 00:00:00+00' + number * interval '1 minute'
from generate_series(1, 100000) as number;

insert into public.comments (note_id, owner, body)
select note.id, note.owner, 'A comment on ' || note.title
from public.notes as note
order by note.id;

insert into public.reactions (comment_id, owner, kind)
select comment.id, comment.owner, 'like'
from public.comments as comment
order by comment.id;

insert into public.articles (id, owner, title, amount)
select number, public.bench_owner(7), 'An article', 12.5
from generate_series(1, 10000) as number;

create index notes_owner_idx on public.notes (owner);
create index comments_note_id_idx on public.comments (note_id);
create index reactions_comment_id_idx on public.reactions (comment_id);

alter table public.notes enable row level security;
alter table public.comments enable row level security;
alter table public.reactions enable row level security;
alter table public.articles enable row level security;
alter table public.entries enable row level security;

create policy "owners read their notes" on public.notes
    for select to authenticated using (owner = (select auth.uid()));

create policy "owners read comments on their notes" on public.comments
    for select to authenticated using (owner = (select auth.uid()));

create policy "owners read reactions to their comments" on public.reactions
    for select to authenticated using (owner = (select auth.uid()));

create policy "owners do everything with their articles" on public.articles
    to authenticated using (owner = (select auth.uid())) with check (owner = (select auth.uid()));

create policy "owners write their entries" on public.entries
    for insert to authenticated with check (owner = (select auth.uid()));

create policy "owners read their entries" on public.entries
    for select to authenticated using (owner = (select auth.uid()));

create function public.summarise_notes(least_priority int) returns table (priority int, notes bigint)
language sql stable
begin atomic
    select note.priority, count(*)
    from public.notes as note
    where note.priority >= least_priority
    group by note.priority
    order by note.priority;
end;

comment on function public.summarise_notes is 'What the benchmark calls.';

create function public.pause(seconds double precision) returns void
language sql volatile
begin atomic
    select pg_sleep(seconds);
end;

comment on function public.pause is 'What the benchmark keeps slow.';

analyze public.notes, public.comments, public.reactions, public.articles;

-- The people, because @supabase/lite looks up the token's user.
insert into auth.users (instance_id, id, aud, role, email, created_at, updated_at)
select
    '00000000-0000-0000-0000-000000000000',
    public.bench_owner(number),
    'authenticated',
    'authenticated',
    'person-' || number || '@example.org',
    now(),
    now()
from generate_series(0, 4999) as number;
