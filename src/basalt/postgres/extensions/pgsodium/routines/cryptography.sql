-- The functions of pgsodium that projects call.

create or replace function pgsodium.refuse(routine text) returns bytea
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'pgsodium.% is not offered by Basalt', routine
        using errcode = 'feature_not_supported', hint = 'Use pgcrypto, or vault for secrets.';
end
$$;

comment on function pgsodium.refuse(text) is 'The error that the functions of this schema raise.';

create or replace function pgsodium.create_key(key_type text default 'aead-det', name text default null)
returns pgsodium.valid_key
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pgsodium.refuse('create_key');
    return null;
end
$$;

comment on function pgsodium.create_key(text, text) is 'Refused.';

create or replace function pgsodium.crypto_aead_det_encrypt(
    message bytea, additional bytea, key_uuid uuid, nonce bytea default null)
returns bytea
language sql
set search_path = pg_catalog, pg_temp
as $$
    select pgsodium.refuse('crypto_aead_det_encrypt')
$$;

comment on function pgsodium.crypto_aead_det_encrypt(bytea, bytea, uuid, bytea) is 'Refused.';

create or replace function pgsodium.crypto_aead_det_decrypt(
    message bytea, additional bytea, key_uuid uuid, nonce bytea default null)
returns bytea
language sql
set search_path = pg_catalog, pg_temp
as $$
    select pgsodium.refuse('crypto_aead_det_decrypt')
$$;

comment on function pgsodium.crypto_aead_det_decrypt(bytea, bytea, uuid, bytea) is 'Refused.';

revoke execute on all functions in schema pgsodium from public;
grant execute on all functions in schema pgsodium to pgsodium_keyiduser;
