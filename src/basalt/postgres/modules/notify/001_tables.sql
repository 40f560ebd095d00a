-- The notification engine's tables (document 004 §2.2), in schema `public` so that an app extends them and its clients read
-- them by REST and Realtime. A table of the same name that the project had before gets the columns that it lacks.

create table if not exists public.notification_templates (
    id uuid primary key default gen_random_uuid(),
    event_type text not null,
    channel text not null,
    locale text not null default 'en',
    version integer not null default 1,
    subject_template text,
    body_template text not null,
    html_template text,
    metadata_schema jsonb not null default '{}',
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint notification_templates_event_type_check check (event_type ~ '^[a-z0-9][a-z0-9._:-]{0,99}$'),
    constraint notification_templates_channel_check check (channel in ('in_app', 'email', 'push', 'sms')),
    constraint notification_templates_locale_check check (locale ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$'),
    constraint notification_templates_version_check check (version > 0),
    constraint notification_templates_length_check check (
        length(coalesce(subject_template, '')) <= 4096 and length(body_template) <= 65536
        and length(coalesce(html_template, '')) <= 65536),
    constraint notification_templates_metadata_schema_check check (jsonb_typeof(metadata_schema) = 'object')
);
create unique index if not exists notification_templates_event_type_channel_locale_version_idx
    on public.notification_templates (event_type, channel, locale, version);

create table if not exists public.notification_channels (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references auth.users (id) on delete cascade,
    channel text not null,
    provider text,
    address text not null,
    label text,
    is_enabled boolean not null default true,
    disabled_reason text,
    verified boolean not null default false,
    registered_at timestamptz not null default now(),
    last_used_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint notification_channels_channel_check check (channel in ('email', 'push', 'sms')),
    constraint notification_channels_provider_check check (
        case when channel = 'push' then coalesce(provider in ('fcm', 'apns', 'expo', 'onesignal', 'webpush'), false)
        else provider is null end),
    -- An index entry holds 2,704 bytes.
    constraint notification_channels_address_check check (octet_length(address) between 1 and 2048),
    constraint notification_channels_label_check check (length(label) <= 200)
);
create unique index if not exists notification_channels_user_id_channel_address_idx
    on public.notification_channels (user_id, channel, address);
-- A device is one person's: who registers its token last has it.
create unique index if not exists notification_channels_provider_address_idx
    on public.notification_channels (provider, address) where channel = 'push';
create index if not exists notification_channels_address_idx on public.notification_channels (channel, address);

create table if not exists public.notification_preferences (
    user_id uuid primary key references auth.users (id) on delete cascade,
    channel_settings jsonb not null default '{}',
    digest_frequency text not null default 'none',
    rate_limit_per_hour integer,
    quiet_hours_start time,
    quiet_hours_end time,
    timezone text not null default 'UTC',
    locale text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
-- An older table may have an id of its own as primary key.
do $$
begin
    if not exists (
        select from pg_catalog.pg_index as i
        join pg_catalog.pg_attribute as a on a.attrelid = i.indrelid and a.attname = 'user_id'
        where i.indrelid = 'public.notification_preferences'::regclass and i.indisunique and i.indpred is null
            and i.indkey::text = a.attnum::text)
    then
        create unique index notification_preferences_user_id_idx on public.notification_preferences (user_id);
    end if;
end
$$;

create table if not exists public.notification_events (
    id uuid primary key default gen_random_uuid(),
    event_type text not null,
    actor_id uuid references auth.users (id) on delete set null,
    subject_id uuid references auth.users (id) on delete cascade,
    audience jsonb,
    context jsonb not null default '{}',
    channels text[],
    priority smallint not null default 5,
    dedup_key text,
    scheduled_for timestamptz not null default now(),
    expires_at timestamptz,
    status text not null default 'pending',
    error jsonb,
    recipient_count bigint not null default 0,
    queued_count bigint not null default 0,
    request_id text,
    triggered_at timestamptz not null default now(),
    constraint notification_events_priority_check check (priority between 0 and 9),
    constraint notification_events_dedup_key_check check (octet_length(dedup_key) <= 400),
    constraint notification_events_status_check check (
        status in ('pending', 'expanding', 'expanded', 'failed', 'cancelled')),
    constraint notification_events_recipients_check check (
        (subject_id is null) <> (audience is null) or status <> 'pending')
);
create unique index if not exists notification_events_event_type_dedup_key_idx
    on public.notification_events (event_type, dedup_key) where dedup_key is not null;
create index if not exists notification_events_subject_id_idx
    on public.notification_events (subject_id, triggered_at desc) where subject_id is not null;
create index if not exists notification_events_actor_id_idx
    on public.notification_events (actor_id) where actor_id is not null;
create index if not exists notification_events_triggered_at_idx on public.notification_events (triggered_at);

create table if not exists public.notification_queue (
    id bigint generated always as identity primary key,
    event_id uuid not null references public.notification_events (id) on delete cascade,
    user_id uuid not null references auth.users (id) on delete cascade,
    channel text not null,
    -- What was used then; it may be gone since. Two foreign keys here cost a fan-out a third of its time.
    channel_id uuid,
    provider text,
    address text,
    template_id uuid,
    payload jsonb not null default '{}',
    scheduled_for timestamptz not null default now(),
    expires_at timestamptz,
    priority smallint not null default 5,
    dedup_key text,
    fallback text[] not null default '{}',
    status text not null default 'pending',
    attempts integer not null default 0,
    last_attempt_at timestamptz,
    error_code text,
    locked_by uuid,
    locked_until timestamptz,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    constraint notification_queue_channel_check check (channel in ('in_app', 'email', 'push', 'sms')),
    constraint notification_queue_address_check check (octet_length(address) <= 2048),
    constraint notification_queue_dedup_key_check check (octet_length(dedup_key) <= 400),
    constraint notification_queue_priority_check check (priority between 0 and 9),
    constraint notification_queue_status_check check (status in
        ('pending', 'held', 'digest', 'sent', 'delivered', 'failed', 'cancelled', 'expired'))
) with (  -- settled rows stay for weeks, and dead entries of due ones must not
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.02);
create index if not exists notification_queue_event_id_idx on public.notification_queue (event_id);
create index if not exists notification_queue_user_id_idx on public.notification_queue (user_id, scheduled_for);
create index if not exists notification_queue_finished_at_idx
    on public.notification_queue (finished_at) where finished_at is not null;

create table if not exists public.notification_deliveries (
    id bigint generated always as identity primary key,
    queue_id bigint not null references public.notification_queue (id) on delete cascade,
    attempt integer not null,
    provider text not null,
    status text not null,
    provider_message_id text,
    response_payload jsonb,
    error_code text,
    created_at timestamptz not null default now(),
    delivered_at timestamptz,
    opened_at timestamptz,
    constraint notification_deliveries_status_check check (status in
        ('accepted', 'delivered', 'opened', 'clicked', 'bounced', 'complained', 'failed', 'retrying', 'unknown'))
);
create index if not exists notification_deliveries_queue_id_idx on public.notification_deliveries (queue_id);
create index if not exists notification_deliveries_provider_message_id_idx
    on public.notification_deliveries (provider, provider_message_id) where provider_message_id is not null;

create table if not exists public.notifications (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references auth.users (id) on delete cascade,
    event_id uuid references public.notification_events (id) on delete set null,
    queue_id bigint references public.notification_queue (id) on delete set null,
    channel text not null default 'in_app',
    delivered_via text not null default 'in_app',
    type text,
    title text not null default '',
    body text not null default '',
    data jsonb not null default '{}',
    read_at timestamptz,
    archived_at timestamptz,
    expires_at timestamptz,
    created_at timestamptz not null default now()
);
create index if not exists notifications_user_id_created_at_idx on public.notifications (user_id, created_at desc);
create index if not exists notifications_unread_idx
    on public.notifications (user_id, channel) where read_at is null and archived_at is null;
create index if not exists notifications_event_id_idx on public.notifications (event_id) where event_id is not null;
create index if not exists notifications_queue_id_idx on public.notifications (queue_id) where queue_id is not null;
create index if not exists notifications_created_at_idx on public.notifications (created_at) where archived_at is null;
create index if not exists notifications_archived_at_idx on public.notifications (archived_at) where archived_at is not null;
create index if not exists notifications_expires_at_idx on public.notifications (expires_at) where expires_at is not null;
