-- Alerts: what the worker found wrong. An alert that is being watched or told is open, one per rule and subject; a resolved one is
-- history.

create table if not exists basalt.alerts (
    id bigint generated always as identity primary key,
    rule text not null,
    subject text not null default '',
    severity text not null check (severity in ('warning', 'critical')),
    state text not null check (state in ('pending', 'firing', 'resolved')),
    value double precision not null,
    threshold double precision not null,
    summary text not null,
    pending_since timestamptz not null,
    fired_at timestamptz,
    clear_since timestamptz,
    resolved_at timestamptz,
    check ((state = 'resolved') = (resolved_at is not null)),
    check ((state = 'pending') = (fired_at is null))
);

comment on table basalt.alerts is 'Alerts that are watched, are told, or were resolved.';
comment on column basalt.alerts.clear_since is 'Since when it has been well again; it is resolved when that has lasted.';
create unique index if not exists alerts_open_idx on basalt.alerts (rule, subject) where state <> 'resolved';
create index if not exists alerts_resolved_at_idx on basalt.alerts (resolved_at) where state = 'resolved';

alter table basalt.alerts enable row level security;
grant select on basalt.alerts to postgres, service_role;
