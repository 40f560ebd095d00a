-- Broadcasts that may be replayed for a shorter time than `realtime.messages` keeps them. Rows go when they have expired.

create table if not exists basalt.expiring_messages (
    message_id uuid primary key,
    expires_at timestamptz not null
);

comment on table basalt.expiring_messages is 'Realtime: Until when a kept broadcast may be replayed.';
create index if not exists expiring_messages_expires_at_idx on basalt.expiring_messages (expires_at);
grant select, insert, delete on basalt.expiring_messages to postgres;
