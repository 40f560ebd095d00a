-- Rows of queries: in order, as sets, as bags (with how often), none or some. A query is SQL or the name of a prepared one.

create function extensions._tap_rows(have refcursor, want refcursor, is_wanted boolean, description text) returns text
language plpgsql
as $$
declare
    have_row record;
    want_row record;
    has_have boolean;
    has_want boolean;
    number int := 1;
    differs boolean := false;
    shown text;
begin
    loop
        fetch have into have_row;
        has_have := found;
        fetch want into want_row;
        has_want := found;
        exit when not has_have and not has_want;
        differs := has_have <> has_want or have_row is distinct from want_row;
        exit when differs;
        number := number + 1;
    end loop;
    if not is_wanted then
        return extensions.ok(differs, description);
    end if;
    shown := '        have: ' || case when has_have then have_row::text else 'NULL' end
        || E'\n        want: ' || case when has_want then want_row::text else 'NULL' end;
    return extensions._tap_result(not differs, description, '    Results differ beginning at row ' || number || E':\n' || shown);
exception
    when datatype_mismatch then
        return extensions._tap_result(
            not is_wanted, description,
            '    Number of columns or their types differ between the queries'
            || case when have_row::text = want_row::text then '' else
                E':\n        have: ' || case when has_have then have_row::text else 'NULL' end
                || E'\n        want: ' || case when has_want then want_row::text else 'NULL' end end
            || E'\n        ERROR: ' || sqlerrm);
end
$$;

create function extensions._tap_open(query text) returns refcursor
language plpgsql
as $$
declare
    rows_of refcursor;
begin
    open rows_of for execute extensions._tap_query(query);
    return rows_of;
end
$$;

create function extensions._tap_open(elements anyarray) returns refcursor
language plpgsql
as $$
declare
    rows_of refcursor;
begin
    open rows_of for select elements[i] from generate_subscripts(elements, 1) as i order by i;
    return rows_of;
end
$$;

create function extensions._tap_compare(have refcursor, want refcursor, is_wanted boolean, description text) returns text
language plpgsql
as $$
declare
    lines constant text := extensions._tap_rows(have, want, is_wanted, description);
begin
    close have;
    close want;
    return lines;
end
$$;

create function extensions.results_eq(have refcursor, want refcursor, description text) returns text
language sql as $$ select extensions._tap_rows(have, want, true, description) $$;
create function extensions.results_eq(have refcursor, want refcursor) returns text
language sql as $$ select extensions._tap_rows(have, want, true, null) $$;
create function extensions.results_eq(have text, want text, description text) returns text
language sql
as $$ select extensions._tap_compare(extensions._tap_open(have), extensions._tap_open(want), true, description) $$;
create function extensions.results_eq(have text, want text) returns text
language sql as $$ select extensions.results_eq(have, want, null::text) $$;
create function extensions.results_eq(have text, want anyarray, description text) returns text
language sql
as $$ select extensions._tap_compare(extensions._tap_open(have), extensions._tap_open(want), true, description) $$;
create function extensions.results_eq(have text, want anyarray) returns text
language sql as $$ select extensions.results_eq(have, want, null::text) $$;
create function extensions.results_eq(have text, want refcursor, description text) returns text
language sql as $$ select extensions._tap_rows(extensions._tap_open(have), want, true, description) $$;
create function extensions.results_eq(have text, want refcursor) returns text
language sql as $$ select extensions.results_eq(have, want, null::text) $$;
create function extensions.results_eq(have refcursor, want text, description text) returns text
language sql as $$ select extensions._tap_rows(have, extensions._tap_open(want), true, description) $$;
create function extensions.results_eq(have refcursor, want text) returns text
language sql as $$ select extensions.results_eq(have, want, null::text) $$;
create function extensions.results_eq(have refcursor, want anyarray, description text) returns text
language sql as $$ select extensions._tap_rows(have, extensions._tap_open(want), true, description) $$;
create function extensions.results_eq(have refcursor, want anyarray) returns text
language sql as $$ select extensions.results_eq(have, want, null::text) $$;

create function extensions.results_ne(have refcursor, want refcursor, description text) returns text
language sql as $$ select extensions._tap_rows(have, want, false, description) $$;
create function extensions.results_ne(have text, want text, description text) returns text
language sql
as $$ select extensions._tap_compare(extensions._tap_open(have), extensions._tap_open(want), false, description) $$;
create function extensions.results_ne(have text, want text) returns text
language sql as $$ select extensions.results_ne(have, want, null::text) $$;
create function extensions.results_ne(have text, want anyarray, description text) returns text
language sql
as $$ select extensions._tap_compare(extensions._tap_open(have), extensions._tap_open(want), false, description) $$;
create function extensions.results_ne(have text, want anyarray) returns text
language sql as $$ select extensions.results_ne(have, want, null::text) $$;

create function extensions._tap_keep(name text, query text) returns void
language plpgsql
as $$
begin
    execute format('create temporary table %I as %s', name, extensions._tap_query(query));
end
$$;

create function extensions._tap_keep(name text, elements anyarray) returns void
language plpgsql
as $$
begin
    execute format('create temporary table %I as select e from unnest(%L::%s) as e', name, elements, pg_typeof(elements));
end
$$;

-- What is in one of the two temporary tables and not in the other, as lines; null for nothing.
create function extensions._tap_minus(one text, other text, operator text) returns text
language plpgsql
as $$
declare
    lines text;
begin
    execute format(
        'select string_agg(r::text, E''\n        '') from (table pg_temp.%I %s table pg_temp.%I) as r', one, operator, other)
    into lines;
    return lines;
end
$$;

-- `kind` is eq, ne, has or hasnt; `operator` is except, or except all for bags. Both tables are there and go.
create function extensions._tap_sets(kind text, is_bag boolean, description text) returns text
language plpgsql
as $$
declare
    operator constant text := case when is_bag then 'except all' else 'except' end;
    extra text;
    missing text;
    problem text;
begin
    begin
        case kind
            when 'hasnt' then
                extra := extensions._tap_minus(
                    'basalt_tap_have', 'basalt_tap_want', case when is_bag then 'intersect all' else 'intersect' end);
            when 'has' then
                missing := extensions._tap_minus('basalt_tap_want', 'basalt_tap_have', operator);
            else
                extra := extensions._tap_minus('basalt_tap_have', 'basalt_tap_want', operator);
                missing := extensions._tap_minus('basalt_tap_want', 'basalt_tap_have', operator);
        end case;
    exception
        when syntax_error or datatype_mismatch then
            problem := sqlerrm;
    end;
    execute 'drop table pg_temp.basalt_tap_have, pg_temp.basalt_tap_want';
    if kind = 'ne' then
        return extensions.ok(problem is not null or extra is not null or missing is not null, description);
    end if;
    if problem is not null then
        return extensions._tap_result(
            kind = 'hasnt', description, E'    Columns differ between queries:\n        ERROR: ' || problem);
    end if;
    return extensions._tap_result(
        extra is null and missing is null, description,
        concat_ws(E'\n', E'    Extra records:\n        ' || extra, E'    Missing records:\n        ' || missing));
end
$$;

create function extensions._tap_sets(kind text, is_bag boolean, have text, want text, description text) returns text
language plpgsql
as $$
begin
    perform extensions._tap_keep('basalt_tap_have', have);
    perform extensions._tap_keep('basalt_tap_want', want);
    return extensions._tap_sets(kind, is_bag, description);
end
$$;

create function extensions._tap_sets(kind text, is_bag boolean, have text, want anyarray, description text) returns text
language plpgsql
as $$
begin
    perform extensions._tap_keep('basalt_tap_have', have);
    perform extensions._tap_keep('basalt_tap_want', want);
    return extensions._tap_sets(kind, is_bag, description);
end
$$;

create function extensions.set_eq(have text, want text, description text) returns text
language sql as $$ select extensions._tap_sets('eq', false, have, want, description) $$;
create function extensions.set_eq(have text, want text) returns text
language sql as $$ select extensions._tap_sets('eq', false, have, want, null) $$;
create function extensions.set_eq(have text, want anyarray, description text) returns text
language sql as $$ select extensions._tap_sets('eq', false, have, want, description) $$;
create function extensions.set_eq(have text, want anyarray) returns text
language sql as $$ select extensions._tap_sets('eq', false, have, want, null) $$;
create function extensions.set_ne(have text, want text, description text) returns text
language sql as $$ select extensions._tap_sets('ne', false, have, want, description) $$;
create function extensions.set_ne(have text, want text) returns text
language sql as $$ select extensions._tap_sets('ne', false, have, want, null) $$;
create function extensions.set_ne(have text, want anyarray, description text) returns text
language sql as $$ select extensions._tap_sets('ne', false, have, want, description) $$;
create function extensions.set_ne(have text, want anyarray) returns text
language sql as $$ select extensions._tap_sets('ne', false, have, want, null) $$;
create function extensions.set_has(have text, want text, description text) returns text
language sql as $$ select extensions._tap_sets('has', false, have, want, description) $$;
create function extensions.set_has(have text, want text) returns text
language sql as $$ select extensions._tap_sets('has', false, have, want, null) $$;
create function extensions.set_hasnt(have text, want text, description text) returns text
language sql as $$ select extensions._tap_sets('hasnt', false, have, want, description) $$;
create function extensions.set_hasnt(have text, want text) returns text
language sql as $$ select extensions._tap_sets('hasnt', false, have, want, null) $$;
create function extensions.bag_eq(have text, want text, description text) returns text
language sql as $$ select extensions._tap_sets('eq', true, have, want, description) $$;
create function extensions.bag_eq(have text, want text) returns text
language sql as $$ select extensions._tap_sets('eq', true, have, want, null) $$;
create function extensions.bag_eq(have text, want anyarray, description text) returns text
language sql as $$ select extensions._tap_sets('eq', true, have, want, description) $$;
create function extensions.bag_eq(have text, want anyarray) returns text
language sql as $$ select extensions._tap_sets('eq', true, have, want, null) $$;
create function extensions.bag_ne(have text, want text, description text) returns text
language sql as $$ select extensions._tap_sets('ne', true, have, want, description) $$;
create function extensions.bag_ne(have text, want text) returns text
language sql as $$ select extensions._tap_sets('ne', true, have, want, null) $$;
create function extensions.bag_ne(have text, want anyarray, description text) returns text
language sql as $$ select extensions._tap_sets('ne', true, have, want, description) $$;
create function extensions.bag_ne(have text, want anyarray) returns text
language sql as $$ select extensions._tap_sets('ne', true, have, want, null) $$;
create function extensions.bag_has(have text, want text, description text) returns text
language sql as $$ select extensions._tap_sets('has', true, have, want, description) $$;
create function extensions.bag_has(have text, want text) returns text
language sql as $$ select extensions._tap_sets('has', true, have, want, null) $$;
create function extensions.bag_hasnt(have text, want text, description text) returns text
language sql as $$ select extensions._tap_sets('hasnt', true, have, want, description) $$;
create function extensions.bag_hasnt(have text, want text) returns text
language sql as $$ select extensions._tap_sets('hasnt', true, have, want, null) $$;

create function extensions.is_empty(query text, description text) returns text
language plpgsql
as $$
declare
    found_row record;
    lines text[] := '{}';
begin
    for found_row in execute extensions._tap_query(query) loop
        lines := lines || found_row::text;
    end loop;
    return extensions._tap_result(
        lines = '{}', description, E'    Unexpected records:\n        ' || array_to_string(lines, E'\n        '));
end
$$;
create function extensions.is_empty(query text) returns text
language sql as $$ select extensions.is_empty(query, null) $$;

create function extensions.isnt_empty(query text, description text) returns text
language plpgsql
as $$
declare
    found_row record;
begin
    for found_row in execute extensions._tap_query(query) loop
        return extensions.ok(true, description);
    end loop;
    return extensions.ok(false, description);
end
$$;
create function extensions.isnt_empty(query text) returns text
language sql as $$ select extensions.isnt_empty(query, null) $$;

create function extensions.row_eq(query text, want anyelement, description text) returns text
language plpgsql
as $$
declare
    have_row record;
begin
    execute extensions._tap_query(query) into have_row;
    return extensions._tap_result(
        have_row is not distinct from want, description,
        '        have: ' || coalesce(have_row::text, 'NULL') || E'\n        want: ' || coalesce(want::text, 'NULL'));
exception
    when datatype_mismatch then
        return extensions._tap_result(
            false, description, E'    Number of columns or their types differ\n        ERROR: ' || sqlerrm);
end
$$;
create function extensions.row_eq(query text, want anyelement) returns text
language sql as $$ select extensions.row_eq(query, want, null) $$;
