-- Routines of SQL: that they are there, what they return, how they run, who may call them.

-- Those of a name; with `args`, the one with arguments of these types.
create function extensions._tap_functions(s name, f name, args name[]) returns setof pg_proc
language sql stable
as $$
    select p.*
    from pg_catalog.pg_proc as p
    join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
    where p.proname = f
        and case when s is null then pg_catalog.pg_function_is_visible(p.oid) else n.nspname = s end
        and (args is null or array(
            select format_type(a, null) from unnest(p.proargtypes) with ordinality as u (a, position) order by position)
            = array(
            select coalesce(to_regtype(a)::text, a) from unnest(args::text[]) with ordinality as u (a, position) order by position))
$$;

create function extensions._tap_function_name(s name, f name, args name[]) returns text
language sql immutable
as $$ select extensions._tap_name(s, f) || '(' || coalesce(array_to_string(args, ', '), '') || ')' $$;

-- (schema, function, arguments, description), (schema, function, arguments), (schema, function, description),
-- (schema, function), and the same without the schema.
do $make$
declare
    kind record;
begin
    for kind in
        values
            ('has_function', 'exists (select from extensions._tap_functions(s, f, a))', 'should exist'),
            ('hasnt_function', 'not exists (select from extensions._tap_functions(s, f, a))', 'should not exist'),
            ('is_definer', '(select bool_and(prosecdef) from extensions._tap_functions(s, f, a))', 'should be security definer'),
            ('isnt_definer', '(select bool_and(not prosecdef) from extensions._tap_functions(s, f, a))', 'should not be security definer'),
            ('is_strict', '(select bool_and(proisstrict) from extensions._tap_functions(s, f, a))', 'should be strict'),
            ('isnt_strict', '(select bool_and(not proisstrict) from extensions._tap_functions(s, f, a))', 'should not be strict'),
            ('is_aggregate', $$(select bool_and(prokind = 'a') from extensions._tap_functions(s, f, a))$$, 'should be an aggregate function'),
            ('is_procedure', $$(select bool_and(prokind = 'p') from extensions._tap_functions(s, f, a))$$, 'should be a procedure'),
            ('is_normal_function', $$(select bool_and(prokind = 'f') from extensions._tap_functions(s, f, a))$$, 'should be a normal function')
    loop
        execute format($code$
            create function extensions.%1$s(s name, f name, a name[], d text) returns text
            language sql
            as $body$
                select extensions._tap_result(coalesce(%2$s, false), d,
                    case when '%1$s' like '%%has%%' or exists (select from extensions._tap_functions(s, f, a)) then null
                    else '    Function ' || extensions._tap_function_name(s, f, a) || ' does not exist' end)
            $body$;
            create function extensions.%1$s(s name, f name, a name[]) returns text
            language sql
            as $body$ select extensions.%1$s(s, f, a, 'Function ' || extensions._tap_function_name(s, f, a) || ' %3$s') $body$;
            create function extensions.%1$s(s name, f name, d text) returns text
            language sql as $body$ select extensions.%1$s(s, f, null::name[], d) $body$;
            create function extensions.%1$s(s name, f name) returns text
            language sql as $body$ select extensions.%1$s(s, f, null::name[]) $body$;
            create function extensions.%1$s(f name, a name[], d text) returns text
            language sql as $body$ select extensions.%1$s(null::name, f, a, d) $body$;
            create function extensions.%1$s(f name, a name[]) returns text
            language sql as $body$ select extensions.%1$s(null::name, f, a) $body$;
            create function extensions.%1$s(f name, d text) returns text
            language sql as $body$ select extensions.%1$s(null::name, f, null::name[], d) $body$;
            create function extensions.%1$s(f name) returns text
            language sql as $body$ select extensions.%1$s(null::name, f, null::name[]) $body$;
        $code$, kind.column1, kind.column2, kind.column3);
    end loop;
    -- The same with the value that is wanted after the arguments.
    for kind in
        values
            ('function_lang_is', '(select lanname::text from pg_catalog.pg_language where oid = p.prolang)', 'name', 'w::text',
                'should be written in'),
            ('function_returns',
                $$case when p.proretset then 'setof ' else '' end || format_type(p.prorettype, null)$$, 'text',
                $$regexp_replace(w, '^(setof )?(.*)$', '\1') || coalesce(to_regtype(regexp_replace(w, '^setof ', ''))::text, regexp_replace(w, '^setof ', ''))$$,
                'should return'),
            ('volatility_is',
                $$case p.provolatile when 'i' then 'IMMUTABLE' when 's' then 'STABLE' else 'VOLATILE' end$$, 'text', 'upper(w)', 'should be'),
            ('function_owner_is', 'pg_get_userbyid(p.proowner)::text', 'name', 'w::text', 'should be owned by')
    loop
        execute format($code$
            create function extensions.%1$s(s name, f name, a name[], w %3$s, d text) returns text
            language sql
            as $body$
                select case when p.oid is null
                    then extensions._tap_result(false, d, '    Function ' || extensions._tap_function_name(s, f, a) || ' does not exist')
                    else extensions.is(%2$s, %4$s, d) end
                from (values (1)) as one left join lateral (select * from extensions._tap_functions(s, f, a) limit 1) as p on true
            $body$;
            create function extensions.%1$s(s name, f name, a name[], w %3$s) returns text
            language sql
            as $body$ select extensions.%1$s(s, f, a, w, 'Function ' || extensions._tap_function_name(s, f, a) || ' %5$s ' || w) $body$;
            create function extensions.%1$s(s name, f name, w %3$s, d text) returns text
            language sql as $body$ select extensions.%1$s(s, f, null::name[], w, d) $body$;
            create function extensions.%1$s(s name, f name, w %3$s) returns text
            language sql as $body$ select extensions.%1$s(s, f, null::name[], w) $body$;
            create function extensions.%1$s(f name, a name[], w %3$s, d text) returns text
            language sql as $body$ select extensions.%1$s(null::name, f, a, w, d) $body$;
            create function extensions.%1$s(f name, a name[], w %3$s) returns text
            language sql as $body$ select extensions.%1$s(null::name, f, a, w) $body$;
            create function extensions.%1$s(f name, w %3$s) returns text
            language sql as $body$ select extensions.%1$s(null::name, f, null::name[], w) $body$;
        $code$, kind.column1, kind.column2, kind.column3, kind.column4, kind.column5);
        if kind.column1 <> 'function_owner_is' then
            execute format($code$
                create function extensions.%1$s(f name, w %2$s, d text) returns text
                language sql as $body$ select extensions.%1$s(null::name, f, null::name[], w, d) $body$;
            $code$, kind.column1, kind.column3);
        end if;
    end loop;
end
$make$;

create function extensions.function_privs_are(s name, f name, args name[], r name, privileges name[], d text) returns text
language sql
as $$
    select case when p.oid is null
        then extensions._tap_result(false, d, '    Function ' || extensions._tap_function_name(s, f, args) || ' does not exist')
        else extensions._tap_list(
            'privileges', case when has_function_privilege(r, p.oid, 'EXECUTE') then '{EXECUTE}' else '{}' end::name[], privileges, d)
        end
    from (values (1)) as one left join lateral (select * from extensions._tap_functions(s, f, args) limit 1) as p on true
$$;
create function extensions.function_privs_are(s name, f name, args name[], r name, privileges name[]) returns text
language sql
as $$
    select extensions.function_privs_are(
        s, f, args, r, privileges, 'Role ' || quote_ident(r) || ' should be granted '
        || coalesce(nullif(array_to_string(privileges, ', '), ''), 'no privileges')
        || ' on function ' || extensions._tap_function_name(s, f, args))
$$;
create function extensions.function_privs_are(f name, args name[], r name, privileges name[], d text) returns text
language sql as $$ select extensions.function_privs_are(null::name, f, args, r, privileges, d) $$;
create function extensions.function_privs_are(f name, args name[], r name, privileges name[]) returns text
language sql as $$ select extensions.function_privs_are(null::name, f, args, r, privileges) $$;
