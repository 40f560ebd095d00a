-- What routines go by of the project's settings; every start writes down what they are.
reset role;

create table if not exists basalt.notify_settings (
    name text primary key,
    value double precision not null
);

comment on table basalt.notify_settings is 'Settings of section [notify] that routines go by, as the last start found them.';
alter table basalt.notify_settings enable row level security;
grant select on basalt.notify_settings to postgres, service_role;
