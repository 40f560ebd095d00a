-- The functions of pgjwt.

create or replace function @extschema@.url_encode(data bytea) returns text
language sql immutable
as $$
    select translate(encode(data, 'base64'), E'+/=\n', '-_')
$$;

comment on function @extschema@.url_encode(bytea) is 'base64url without padding.';

create or replace function @extschema@.url_decode(data text) returns bytea
language sql immutable
as $$
    select decode(rpad(translate(data, '-_', '+/'), (length(data) + 3) / 4 * 4, '='), 'base64')
$$;

comment on function @extschema@.url_decode(text) is 'Bytes of base64url, with or without padding.';

create or replace function @extschema@.algorithm_sign(signables text, secret text, algorithm text) returns text
language plpgsql immutable
set search_path from current
as $$
declare
    digest text := case algorithm when 'HS256' then 'sha256' when 'HS384' then 'sha384' when 'HS512' then 'sha512' end;
begin
    if digest is null then
        raise exception 'algorithm % is not one of HS256, HS384, HS512', algorithm
            using errcode = 'invalid_parameter_value';
    end if;
    return url_encode(hmac(convert_to(signables, 'utf8'), convert_to(secret, 'utf8'), digest));
end
$$;

comment on function @extschema@.algorithm_sign(text, text, text) is 'The signature of a text, base64url.';

create or replace function @extschema@.sign(payload json, secret text, algorithm text default 'HS256') returns text
language sql immutable
set search_path from current
as $$
    select signables.text || '.' || algorithm_sign(signables.text, secret, algorithm)
    from (
        select url_encode(convert_to(json_build_object('alg', algorithm, 'typ', 'JWT')::text, 'utf8'))
            || '.' || url_encode(convert_to(payload::text, 'utf8'))
    ) as signables (text)
$$;

comment on function @extschema@.sign(json, text, text) is 'A signed token with this payload.';

create or replace function @extschema@.try_cast_double(inp text) returns double precision
language plpgsql immutable
as $$
begin
    return inp::double precision;
exception
    when others then
        return null;
end
$$;

comment on function @extschema@.try_cast_double(text) is 'The number, or null when it is none.';

create or replace function @extschema@.verify(token text, secret text, algorithm text default 'HS256')
returns table (header json, payload json, valid boolean)
language sql stable
set search_path from current
as $$
    select
        convert_from(url_decode(parts[1]), 'utf8')::json,
        claims.payload,
        -- Hashes are compared, so that the time it takes says nothing about the signature.
        sha256(convert_to(parts[3], 'utf8'))
            = sha256(convert_to(algorithm_sign(parts[1] || '.' || parts[2], secret, algorithm), 'utf8'))
            and tstzrange(
                to_timestamp(try_cast_double(claims.payload ->> 'nbf')),
                to_timestamp(try_cast_double(claims.payload ->> 'exp'))) @> current_timestamp
    from regexp_split_to_array(token, '\.') as parts,
        lateral (select convert_from(url_decode(parts[2]), 'utf8')::json) as claims (payload)
$$;

comment on function @extschema@.verify(text, text, text) is
    'Header and payload of a token, and whether its signature and its times are good.';
