-- What was done with the data of users: that it was, never what it was.

create table if not exists basalt.privacy_log (
    id bigint generated always as identity primary key,
    action text not null check (action in ('export', 'erase')),
    subject_hash bytea not null check (length(subject_hash) = 32),
    performed_by text not null,
    performed_at timestamptz not null default now(),
    counts jsonb not null
);

comment on table basalt.privacy_log is 'Exports and erasures of users'' data: when, by whom, and how many rows and files.';
comment on column basalt.privacy_log.subject_hash is 'SHA-256 of the user''s id as text: who knows the id finds the entry, nobody else.';
create index if not exists privacy_log_subject_hash_idx on basalt.privacy_log (subject_hash);

alter table basalt.privacy_log enable row level security;
grant select on basalt.privacy_log to postgres;
