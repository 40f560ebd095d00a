-- What the engine keeps for itself while it expands events, and the indexes by which it finds rows that are due.
reset role;

create table if not exists basalt.notification_expansions (
    event_id uuid primary key references public.notification_events (id) on delete cascade,
    cursor uuid not null default '00000000-0000-0000-0000-000000000000',
    started_at timestamptz not null default now()
);
comment on table basalt.notification_expansions is
    'How far an event has been expanded: to every recipient up to `cursor`. The row is written in the transaction of each page.';

create table if not exists basalt.notification_recipients (
    event_id uuid not null references public.notification_events (id) on delete cascade,
    user_id uuid not null,
    primary key (event_id, user_id)
);
comment on table basalt.notification_recipients is
    'The recipients of an event that names users or a routine, found once and kept until it is expanded.';

alter table basalt.notification_expansions enable row level security;
alter table basalt.notification_recipients enable row level security;
create policy "the engine keeps its place" on basalt.notification_expansions for all to postgres
    using (true) with check (true);
create policy "the engine keeps recipients" on basalt.notification_recipients for all to postgres
    using (true) with check (true);
grant select, insert, update, delete on basalt.notification_expansions, basalt.notification_recipients to postgres;

-- A routine that finds an audience runs with the rights of whoever may issue events.
grant usage on schema basalt to service_role;
grant insert, select on basalt.notification_recipients to service_role;

-- A provider that is slow or down keeps nobody's rows but its own from being found.
create index if not exists notification_queue_provider_due_idx
    on public.notification_queue (provider, priority, scheduled_for, id) where status in ('pending', 'held');
create index if not exists notification_queue_digest_idx
    on public.notification_queue (scheduled_for, user_id) where status = 'digest';

-- A claim writes columns that no index knows, beside the row it changes: a third of what it costs otherwise.
alter table public.notification_queue set (fillfactor = 50);

-- A device's address is long, and an index entry is written whenever a row changes.
create unique index if not exists notification_queue_dedup_key_idx
    on public.notification_queue (user_id, channel, hashtextextended(address, 0), dedup_key) nulls not distinct
    where dedup_key is not null;
