-- Values: equal, like, of a type.

create function extensions.is(have anyelement, want anyelement, description text) returns text
language sql
as $$
    select extensions._tap_result(
        have is not distinct from want, description,
        '        have: ' || coalesce(have::text, 'NULL') || E'\n        want: ' || coalesce(want::text, 'NULL'))
$$;
create function extensions.is(have anyelement, want anyelement) returns text
language sql as $$ select extensions.is(have, want, null) $$;

create function extensions.isnt(have anyelement, want anyelement, description text) returns text
language sql
as $$
    select extensions._tap_result(
        have is distinct from want, description,
        '        have: ' || coalesce(have::text, 'NULL') || E'\n        want: anything else')
$$;
create function extensions.isnt(have anyelement, want anyelement) returns text
language sql as $$ select extensions.isnt(have, want, null) $$;

create function extensions._tap_match(passed boolean, description text, relation text, have anyelement, pattern text) returns text
language sql
as $$
    select extensions._tap_result(
        coalesce(passed, false), description,
        '                  ' || coalesce(quote_literal(have), 'NULL') || E'\n' || lpad(relation, 16) || ': '
        || coalesce(quote_literal(pattern), 'NULL'))
$$;

create function extensions.matches(have anyelement, pattern text, description text) returns text
language sql as $$ select extensions._tap_match(have::text ~ pattern, description, 'doesn''t match', have, pattern) $$;
create function extensions.matches(have anyelement, pattern text) returns text
language sql as $$ select extensions.matches(have, pattern, null) $$;
create function extensions.imatches(have anyelement, pattern text, description text) returns text
language sql as $$ select extensions._tap_match(have::text ~* pattern, description, 'doesn''t match', have, pattern) $$;
create function extensions.imatches(have anyelement, pattern text) returns text
language sql as $$ select extensions.imatches(have, pattern, null) $$;
create function extensions.doesnt_match(have anyelement, pattern text, description text) returns text
language sql as $$ select extensions._tap_match(have::text !~ pattern, description, 'matches', have, pattern) $$;
create function extensions.doesnt_match(have anyelement, pattern text) returns text
language sql as $$ select extensions.doesnt_match(have, pattern, null) $$;
create function extensions.doesnt_imatch(have anyelement, pattern text, description text) returns text
language sql as $$ select extensions._tap_match(have::text !~* pattern, description, 'matches', have, pattern) $$;
create function extensions.doesnt_imatch(have anyelement, pattern text) returns text
language sql as $$ select extensions.doesnt_imatch(have, pattern, null) $$;
create function extensions.alike(have anyelement, pattern text, description text) returns text
language sql as $$ select extensions._tap_match(have::text like pattern, description, 'doesn''t match', have, pattern) $$;
create function extensions.alike(have anyelement, pattern text) returns text
language sql as $$ select extensions.alike(have, pattern, null) $$;
create function extensions.ialike(have anyelement, pattern text, description text) returns text
language sql as $$ select extensions._tap_match(have::text ilike pattern, description, 'doesn''t match', have, pattern) $$;
create function extensions.ialike(have anyelement, pattern text) returns text
language sql as $$ select extensions.ialike(have, pattern, null) $$;
create function extensions.unalike(have anyelement, pattern text, description text) returns text
language sql as $$ select extensions._tap_match(have::text not like pattern, description, 'matches', have, pattern) $$;
create function extensions.unalike(have anyelement, pattern text) returns text
language sql as $$ select extensions.unalike(have, pattern, null) $$;
create function extensions.unialike(have anyelement, pattern text, description text) returns text
language sql as $$ select extensions._tap_match(have::text not ilike pattern, description, 'matches', have, pattern) $$;
create function extensions.unialike(have anyelement, pattern text) returns text
language sql as $$ select extensions.unialike(have, pattern, null) $$;

create function extensions.cmp_ok(have anyelement, operator text, want anyelement, description text) returns text
language plpgsql
as $$
declare
    passed boolean;
begin
    execute format('select $1 %s $2', operator) into passed using have, want;
    return extensions._tap_result(
        coalesce(passed, false), description,
        '    ' || coalesce(quote_literal(have), 'NULL') || E'\n        ' || operator || E'\n    ' || coalesce(quote_literal(want), 'NULL'));
end
$$;
create function extensions.cmp_ok(have anyelement, operator text, want anyelement) returns text
language sql as $$ select extensions.cmp_ok(have, operator, want, null) $$;

create function extensions.isa_ok(have anyelement, want regtype, named text) returns text
language sql
as $$
    select extensions._tap_result(
        pg_typeof(have) = want, named || ' isa ' || want,
        '    ' || named || ' isn''t a "' || want || '" it''s a "' || pg_typeof(have) || '"')
$$;
create function extensions.isa_ok(have anyelement, want regtype) returns text
language sql as $$ select extensions.isa_ok(have, want, 'the value') $$;
