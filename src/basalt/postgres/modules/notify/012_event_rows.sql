-- An event's row is looked up for every message that refers to it, which costs four times as much while somebody else has
-- changed or locked it. So while it is expanded its counts are kept here, and shown there once a second; and what is being
-- sent does not refer to it.
reset role;

alter table basalt.notification_expansions
    add column if not exists recipient_count bigint not null default 0,
    add column if not exists queued_count bigint not null default 0,
    add column if not exists shown_at timestamptz not null default now();
comment on column basalt.notification_expansions.shown_at is
    'When the counts were last written to the event.';

update basalt.notification_expansions as x set recipient_count = e.recipient_count, queued_count = e.queued_count
from public.notification_events as e where e.id = x.event_id;

alter table basalt.notification_shipments drop constraint if exists notification_shipments_event_id_fkey;
