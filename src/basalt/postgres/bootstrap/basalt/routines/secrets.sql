-- Tells the processes that run functions of changed secrets.

create or replace function basalt.tell_of_secrets() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_catalog.pg_notify('basalt_secrets', '');
    return null;
end
$$;

comment on function basalt.tell_of_secrets() is 'Notifies after a change to basalt.secrets.';
revoke execute on function basalt.tell_of_secrets() from public;

create or replace trigger secrets_tell after insert or update or delete or truncate on basalt.secrets
for each statement execute function basalt.tell_of_secrets();
