-- Names of time zones. `pg_timezone_names` reads six hundred files each time it is asked: 0.15 s for a row of preferences.
reset role;

create table if not exists basalt.notify_time_zones (name text primary key);

comment on table basalt.notify_time_zones is 'Time zones of the IANA database that PostgreSQL knew when the engine came.';
alter table basalt.notify_time_zones enable row level security;
grant select on basalt.notify_time_zones to postgres, service_role;

insert into basalt.notify_time_zones (name)
select z.name from pg_catalog.pg_timezone_names as z
where z.name !~ '^(posix|right)/' and z.name not in ('posixrules', 'localtime', 'Factory')
on conflict do nothing;
