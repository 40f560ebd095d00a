create schema if not exists basalt;

create table if not exists basalt.bootstrap_versions (
    name text primary key,
    sha256 text not null,
    applied_at timestamptz not null default now()
);

comment on table basalt.bootstrap_versions is
    'Which files of the bootstrap this database has: numbered ones run once, routines again whenever their text changes.';
