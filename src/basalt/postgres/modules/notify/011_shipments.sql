-- A large fan-out's messages on their way, a row for hundreds of them. A message whose way is clear is in the queue only when
-- it is known what became of it, which spares two writes of three; what a worker that died was sending stands here until then.
reset role;

create table if not exists basalt.notification_shipments (
    id bigint generated always as identity primary key,
    event_id uuid not null references public.notification_events (id) on delete cascade,
    provider text not null,
    worker_id uuid not null,
    locked_until timestamptz not null,
    -- A message has the same place in each of these lists; `ids` are those of the queue's rows to be. Arrays are read in a
    -- fifteenth of the time of JSON.
    ids bigint[] not null,
    user_ids uuid[] not null,
    channel_ids uuid[] not null,
    addresses text[] not null,
    text_numbers integer[] not null,
    texts jsonb not null,
    priority smallint not null,
    expires_at timestamptz,
    dedup_key text not null,
    created_at timestamptz not null default now()
);
comment on table basalt.notification_shipments is
    'Messages of a large fan-out that a worker is sending. They become rows of public.notification_queue when their provider '
    'has answered, or when the lease of a worker that died ends.';
comment on column basalt.notification_shipments.texts is
    'What the messages say, by number from 0: [{"channel", "template_id", "fallback", "payload"}].';
-- Gone within a second: compressing it costs more than writing it.
alter table basalt.notification_shipments
    alter column user_ids set storage external, alter column channel_ids set storage external,
    alter column addresses set storage external, alter column ids set storage external;
create index if not exists notification_shipments_event_id_idx on basalt.notification_shipments (event_id);

alter table basalt.notification_shipments enable row level security;
create policy "the engine keeps what it sends" on basalt.notification_shipments for all to postgres
    using (true) with check (true);
grant select, insert, update, delete on basalt.notification_shipments to postgres;
