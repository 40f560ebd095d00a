-- The secrets of functions, sealed by Basalt under a key that the database never sees.

create table if not exists basalt.secrets (
    name text primary key check (name ~ '^[A-Za-z_][A-Za-z0-9_]{0,255}$'),
    sealed bytea not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

comment on table basalt.secrets is 'Secrets that functions find in their environment, each sealed with its name.';
alter table basalt.secrets enable row level security;
