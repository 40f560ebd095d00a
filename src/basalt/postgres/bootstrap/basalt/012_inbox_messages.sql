-- Messages that no provider carries (development): the Studio shows them, tests read one-time codes from them.

create table if not exists basalt.inbox_messages (
    id bigint generated always as identity primary key,
    channel text not null check (channel in ('email', 'sms', 'whatsapp', 'push')),
    recipient text not null,
    subject text,
    body_text text not null default '',
    body_html text,
    kind text not null,
    data jsonb not null default '{}',
    created_at timestamptz not null default now()
);

comment on table basalt.inbox_messages is 'Mails, text messages and pushes that stayed here because no provider is configured.';

create index if not exists inbox_messages_recipient_id_idx on basalt.inbox_messages (recipient, id desc);

grant insert on basalt.inbox_messages to supabase_auth_admin;
grant select, insert, delete on basalt.inbox_messages to service_role, postgres;
