-- The functions of Supabase Vault 0.3. A secret is sealed in OpenPGP's symmetric format (AES-256) together with the id of its row, under
-- a key that no role can read by SQL. The key never becomes a parameter or a variable, only the result of a function call: those
-- would stand in a plan, and `debug_print_plan` shows plans to everybody.
--
-- `pg_catalog` comes first in the search path, before `pg_temp`, which an empty path would search first for the names of types.

create or replace function vault.read_keys() returns table (place bigint, id uuid, key text)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if (select r.rolsuper from pg_catalog.pg_roles as r where r.rolname = current_user) then
        if (pg_catalog.pg_stat_file('../vault.key', true)).size is not null then
            return query
            select l.place, split_part(l.line, ' ', 1)::uuid, split_part(l.line, ' ', 2)
            from regexp_split_to_table(pg_catalog.pg_read_file('../vault.key'), '\n') with ordinality as l (line, place)
            where l.line ~ '^[0-9a-f-]{36} \S+$';
            return;
        end if;
    end if;
    return query
    select row_number() over (order by k.number desc), k.id, k.key from vault.sealing_keys as k;
end
$$;

comment on function vault.read_keys() is 'The keys that open secrets; the first one seals. For the owner of Vault only.';

create or replace function vault.sealing_key(wanted uuid) returns text
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select k.key from vault.read_keys() as k where k.id = wanted);
end
$$;

comment on function vault.sealing_key(uuid) is 'A key by its id. For the owner of Vault only.';

create or replace function vault.current_key_id() returns uuid
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    found uuid := (select k.id from vault.read_keys() as k order by k.place limit 1);
begin
    if found is null then
        raise exception 'Vault has no key to seal secrets with'
            using errcode = 'object_not_in_prerequisite_state', hint = 'Start the project with Basalt once; it makes the key.';
    end if;
    return found;
end
$$;

comment on function vault.current_key_id() is 'The id of the key that seals. For the owner of Vault only.';

create or replace function vault.seal(secret_id uuid, secret text, key_id uuid) returns text
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- The key is random and as long as the cipher's, so one round of hashing derives what a million would.
    return encode(
        vault.pgp_sym_encrypt_bytea(
            uuid_send(secret_id) || convert_to(secret, 'UTF8'), vault.sealing_key(key_id),
            'cipher-algo=aes256, compress-algo=0, s2k-mode=1, s2k-digest-algo=sha256'),
        'base64');
end
$$;

comment on function vault.seal(uuid, text, uuid) is 'A secret as it is kept. For the owner of Vault only.';

create or replace function vault.unseal(secret text, secret_id uuid, key_id uuid) returns text
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    opened bytea := vault.pgp_sym_decrypt_bytea(decode(secret, 'base64'), vault.sealing_key(key_id));
begin
    if opened is null then
        raise exception 'Secret % was sealed with %, which this server does not have', secret_id,
            coalesce('key ' || key_id, 'a key of Supabase')
            using errcode = 'object_not_in_prerequisite_state',
                hint = 'Bring the file vault.key of the server that sealed it, or create the secret again.';
    end if;
    if substr(opened, 1, 16) <> uuid_send(secret_id) then
        raise exception 'Secret % was moved from another row', secret_id using errcode = 'data_corrupted';
    end if;
    return convert_from(substr(opened, 17), 'UTF8');
end
$$;

comment on function vault.unseal(text, uuid, uuid) is 'A sealed secret in clear; what the view calls.';

create or replace function vault.create_secret(
    new_secret text, new_name text default null, new_description text default '', new_key_id uuid default null)
returns uuid
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    secret_id uuid := gen_random_uuid();
    sealed_by uuid := vault.current_key_id();
begin
    insert into vault.secrets (id, name, description, secret, key_id)
    values (secret_id, new_name, new_description, vault.seal(secret_id, new_secret, sealed_by), sealed_by);
    return secret_id;
end
$$;

comment on function vault.create_secret(text, text, text, uuid) is
    'Seals a secret and returns its id. `new_key_id` has no effect, as since Vault 0.3.';

create or replace function vault.update_secret(
    secret_id uuid, new_secret text default null, new_name text default null, new_description text default null,
    new_key_id uuid default null)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    sealed_by uuid := vault.current_key_id();
begin
    update vault.secrets as s
    set secret = case when new_secret is null then s.secret else vault.seal(s.id, new_secret, sealed_by) end,
        key_id = case when new_secret is null then s.key_id else sealed_by end,
        name = coalesce(new_name, s.name),
        description = coalesce(new_description, s.description),
        updated_at = now()
    where s.id = secret_id;
end
$$;

comment on function vault.update_secret(uuid, text, text, text, uuid) is 'Changes a secret; what is null stays as it is.';

create or replace view vault.decrypted_secrets as
select s.id, s.name, s.description, s.secret, vault.unseal(s.secret, s.id, s.key_id) as decrypted_secret, s.key_id,
    s.nonce, s.created_at, s.updated_at
from vault.secrets as s;

comment on view vault.decrypted_secrets is 'Secrets in clear, for those who may read this view.';

create or replace function vault.reseal() returns bigint
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    sealed_by uuid := vault.current_key_id();
    resealed bigint;
begin
    lock table vault.secrets in share row exclusive mode;
    update vault.secrets as s
    set secret = vault.seal(s.id, vault.unseal(s.secret, s.id, s.key_id), sealed_by), key_id = sealed_by
    where s.key_id is distinct from sealed_by;
    get diagnostics resealed = row_count;
    return resealed;
end
$$;

comment on function vault.reseal() is 'Seals every secret with the first key and returns how many. For the owner of Vault only.';

revoke all on all functions in schema vault from public;
grant usage on schema vault to postgres with grant option;
grant usage on schema vault to service_role;
grant select, delete, truncate, references on vault.secrets, vault.decrypted_secrets to postgres with grant option;
grant select, delete on vault.secrets, vault.decrypted_secrets to service_role;
grant execute on function vault.create_secret(text, text, text, uuid), vault.update_secret(uuid, text, text, text, uuid),
    vault.unseal(text, uuid, uuid) to postgres with grant option;
grant execute on function vault.create_secret(text, text, text, uuid), vault.update_secret(uuid, text, text, text, uuid),
    vault.unseal(text, uuid, uuid) to service_role;
