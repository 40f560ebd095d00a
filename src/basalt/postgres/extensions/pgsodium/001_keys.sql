-- What older dumps mention of pgsodium: its table of keys, empty.
create table pgsodium.key (
    id uuid primary key default gen_random_uuid(),
    status text default 'valid',
    created timestamptz not null default current_timestamp,
    expires timestamptz,
    key_type text,
    key_id bigint,
    key_context bytea,
    name text unique,
    associated_data text default 'associated',
    raw_key bytea,
    raw_key_nonce bytea,
    parent_key uuid references pgsodium.key (id),
    comment text,
    user_data text
);

comment on table pgsodium.key is 'Keys; always empty here, secrets are Basalt''s own.';

create view pgsodium.valid_key as
select k.id, k.name, k.status, k.key_type, k.key_id, k.key_context, k.created, k.expires, k.associated_data
from pgsodium.key as k
where k.status in ('valid', 'default') and (k.expires is null or k.expires > now());

comment on view pgsodium.valid_key is 'Keys that may be used.';

grant usage on schema pgsodium to pgsodium_keyiduser;
grant select on pgsodium.valid_key to pgsodium_keyiduser;
