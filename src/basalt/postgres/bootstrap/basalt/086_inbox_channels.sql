-- The Inbox takes every channel of the notification engine.

alter table basalt.inbox_messages
    drop constraint if exists inbox_messages_channel_check,
    add constraint inbox_messages_channel_check
        check (channel in ('email', 'sms', 'whatsapp', 'push', 'in_app')),
    add column if not exists details jsonb not null default '{}';

comment on column basalt.inbox_messages.details is
    'What a notification carries beside its text (`request_id`, `badge`, `ttl_s`, …); its `key` is that of the delivery.';

-- A delivery that is tried again after a crash is one message.
create unique index if not exists inbox_messages_delivery_idx on basalt.inbox_messages ((details ->> 'key'));
create index if not exists inbox_messages_channel_id_idx on basalt.inbox_messages (channel, id desc);
