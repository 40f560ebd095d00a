-- The functions of Supabase Vault. Sealing needs the project's key, which the server has not been given in this version.

create or replace function vault.refuse(routine text) returns text
language plpgsql
set search_path = ''
as $$
begin
    raise exception '% needs Basalt''s secrets, which this version does not have yet', routine
        using errcode = 'feature_not_supported';
end
$$;

comment on function vault.refuse(text) is 'The error that the functions of this schema raise for now.';

create or replace function vault.create_secret(
    new_secret text, new_name text default null, new_description text default '', new_key_id uuid default null)
returns uuid
language sql
set search_path = ''
as $$
    select vault.refuse('vault.create_secret')::uuid
$$;

comment on function vault.create_secret(text, text, text, uuid) is 'Seals a secret and returns its id.';

create or replace function vault.update_secret(
    secret_id uuid, new_secret text default null, new_name text default null, new_description text default null,
    new_key_id uuid default null)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform vault.refuse('vault.update_secret');
end
$$;

comment on function vault.update_secret(uuid, text, text, text, uuid) is 'Changes a secret; what is null stays as it is.';

create or replace view vault.decrypted_secrets as
select s.id, s.name, s.description, s.secret, vault.refuse('vault.decrypted_secrets') as decrypted_secret, s.key_id,
    s.nonce, s.created_at, s.updated_at
from vault.secrets as s;

comment on view vault.decrypted_secrets is 'Secrets in clear, for those who may read this view.';

revoke all on function vault.refuse(text), vault.create_secret(text, text, text, uuid),
    vault.update_secret(uuid, text, text, text, uuid) from public;
grant usage on schema vault to postgres with grant option;
grant usage on schema vault to service_role;
grant select, delete on vault.secrets, vault.decrypted_secrets to postgres with grant option;
grant select, delete on vault.secrets, vault.decrypted_secrets to service_role;
grant execute on all functions in schema vault to postgres with grant option;
grant execute on all functions in schema vault to service_role;
