-- What the tables and their columns are for; `docs/reference/notification-tables.md` says the same with owners and retention.

comment on table public.notification_templates is 'Texts of notifications by event type, channel, locale and version.';
comment on column public.notification_templates.metadata_schema is 'JSON Schema of the context that an event must bring.';
comment on column public.notification_templates.is_active is 'Of the active versions the newest is used.';

comment on table public.notification_channels is
    'Addresses of people: devices, and mail addresses and numbers beside those of their accounts.';
comment on column public.notification_channels.address is
    'A device token, a Web Push subscription as JSON, a mail address, or a number in E.164.';
comment on column public.notification_channels.verified is
    'Only a verified mail address or number is written to. Set by the project, never by the person.';
comment on column public.notification_channels.disabled_reason is 'Why the engine has stopped using it, a hard bounce for one.';

comment on table public.notification_preferences is 'What people want to be told, by which ways, and when.';
comment on column public.notification_preferences.channel_settings is
    'By channel {"enabled", "digest"}, "fallback", and by event type "events" {"enabled", "channels", "digest", "fallback"}.';
comment on column public.notification_preferences.rate_limit_per_hour is
    'At most so many messages an hour outside the app; what is over it waits. Null is no limit.';
comment on column public.notification_preferences.quiet_hours_start is
    'From here until quiet_hours_end, by the person''s clock, messages outside the app wait.';

comment on table public.notification_events is 'What happened and whom it concerns; made by issue_notification().';
comment on column public.notification_events.subject_id is 'The person whom it concerns, unless there is an audience.';
comment on column public.notification_events.audience is
    '{"user_ids": […]}, {"everyone": true}, or {"routine": "schema.name", "arguments": {…}}.';
comment on column public.notification_events.dedup_key is 'A second event of the type with the same key is the first one.';

comment on table public.notification_queue is 'One row per person, channel and address: what is to be sent, when, and how it went.';
comment on column public.notification_queue.payload is 'The message as it was rendered.';
comment on column public.notification_queue.fallback is 'The channels that are tried, in this order, where this one fails for good.';
comment on column public.notification_queue.locked_until is 'Until when the dispatcher that sends it has it.';

comment on table public.notification_deliveries is 'One row per attempt: what the provider said, and what it reported later.';
comment on column public.notification_deliveries.provider_message_id is 'The provider''s name for the message, by which its reports find it.';

comment on table public.notifications is 'What people see in the app. Told by Realtime.';
comment on column public.notifications.queue_id is 'The row of the queue that it came from, for as long as that is kept.';
comment on column public.notifications.expires_at is 'From then on it is deleted, read or not.';
