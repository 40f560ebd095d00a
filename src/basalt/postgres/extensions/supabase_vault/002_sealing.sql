-- What seals secrets: pgcrypto, under a key that lies beside the cluster's data directory.

-- On a server that is not ours there is no such file: there the key lies in this table, which its owner alone may read. It stays
-- empty in the private cluster.
create table vault.sealing_keys (
    number bigint primary key generated always as identity,
    id uuid not null unique default gen_random_uuid(),
    key text not null,
    created_at timestamptz not null default current_timestamp
);

comment on table vault.sealing_keys is
    'Keys that seal secrets where Basalt cannot keep them in a file beside the database; the newest seals.';
revoke all on vault.sealing_keys from public;

-- pgcrypto's two functions, straight from its library: role `postgres` owns schema `extensions` and may drop the extension, so a
-- function called there by a superuser's routine could one day be another than pgcrypto's. Without superuser or without the library
-- they are looked up when they are called.
do $$
begin
    if (select r.rolsuper from pg_catalog.pg_roles as r where r.rolname = current_user) then
        create function vault.pgp_sym_encrypt_bytea(bytea, text, text) returns bytea
        language c volatile strict parallel safe as '$libdir/pgcrypto', 'pgp_sym_encrypt_bytea';
        create function vault.pgp_sym_decrypt_bytea(bytea, text) returns bytea
        language c immutable strict parallel safe as '$libdir/pgcrypto', 'pgp_sym_decrypt_bytea';
    end if;
exception
    when undefined_file or undefined_function then
        null;
end
$$;

do $$
begin
    if to_regprocedure('vault.pgp_sym_encrypt_bytea(bytea, text, text)') is not null then
        return;
    end if;
    create function vault.pgcrypto_schema() returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $body$
    declare
        found text := (
            select e.extnamespace::regnamespace::text from pg_catalog.pg_extension as e where e.extname = 'pgcrypto');
    begin
        if found is null then
            raise exception 'Vault needs the extension pgcrypto, which this database does not have'
                using errcode = 'feature_not_supported', hint = 'create extension pgcrypto with schema extensions';
        end if;
        return found;
    end
    $body$;
    create function vault.pgp_sym_encrypt_bytea(content bytea, key text, options text) returns bytea
    language plpgsql volatile strict
    set search_path = pg_catalog, pg_temp
    set debug_print_plan = off
    as $body$
    declare
        sealed bytea;
    begin
        execute 'select ' || vault.pgcrypto_schema() || '.pgp_sym_encrypt_bytea($1, $2, $3)'
        into sealed using content, key, options;
        return sealed;
    end
    $body$;
    create function vault.pgp_sym_decrypt_bytea(content bytea, key text) returns bytea
    language plpgsql stable strict
    set search_path = pg_catalog, pg_temp
    set debug_print_plan = off
    as $body$
    declare
        opened bytea;
    begin
        execute 'select ' || vault.pgcrypto_schema() || '.pgp_sym_decrypt_bytea($1, $2)' into opened using content, key;
        return opened;
    end
    $body$;
    comment on function vault.pgcrypto_schema() is 'Where pgcrypto is.';
    revoke all on function vault.pgcrypto_schema() from public;
end
$$;

comment on function vault.pgp_sym_encrypt_bytea(bytea, text, text) is 'pgcrypto''s; for the owner of Vault only.';
comment on function vault.pgp_sym_decrypt_bytea(bytea, text) is 'pgcrypto''s; for the owner of Vault only.';
revoke all on function vault.pgp_sym_encrypt_bytea(bytea, text, text), vault.pgp_sym_decrypt_bytea(bytea, text) from public;

-- Sealed secrets belong into a dump as the rows of any table do. Outside of `create extension` that is so by itself.
do $$
begin
    perform pg_catalog.pg_extension_config_dump('vault.secrets', '');
exception
    when feature_not_supported then
        null;
end
$$;
