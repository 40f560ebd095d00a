-- What a trusted extension has made belongs to the superuser, and `alter extension … set schema` asks for the ownership of each
-- part: the owner of the extension, `postgres`, is refused. On Supabase supautils lets it through.

create or replace function basalt.move_extension(p_name text, p_schema text default 'extensions')
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_owner oid := (select e.extowner from pg_extension as e where e.extname = p_name);
begin
    if v_owner is null then
        raise exception 'extension "%" does not exist', p_name using errcode = 'undefined_object';
    end if;
    if not pg_has_role('postgres', v_owner, 'usage') then
        raise exception 'must be owner of extension %', p_name using errcode = 'insufficient_privilege';
    end if;
    if not has_schema_privilege('postgres', p_schema, 'create') then
        raise exception 'permission denied for schema %', p_schema using errcode = 'insufficient_privilege';
    end if;
    execute format('alter extension %I set schema %I', p_name, p_schema);
end
$$;

comment on function basalt.move_extension(text, text) is
    '`alter extension p_name set schema p_schema` for role postgres, who may by nature move only what it owns every part of.';

revoke execute on function basalt.move_extension(text, text) from public;
grant execute on function basalt.move_extension(text, text) to postgres;
