-- A provider's report may be quicker than the row of the delivery that it is about.
reset role;

create table if not exists basalt.early_delivery_reports (
    provider text not null,
    message_id text not null,
    report_id text not null,
    report jsonb not null,
    received_at timestamptz not null default now(),
    primary key (provider, message_id, report_id)
);

comment on table basalt.early_delivery_reports is
    'Reports about messages that are not known yet; taken over when the delivery is written, or deleted after a day.';
create index if not exists early_delivery_reports_received_at_idx on basalt.early_delivery_reports (received_at);
alter table basalt.early_delivery_reports enable row level security;
grant select, insert, update, delete on basalt.early_delivery_reports to postgres, service_role;
