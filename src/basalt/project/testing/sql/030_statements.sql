-- Statements: which error they raise, whether they run, how long they take. A statement is SQL, or the name of a prepared one.

create function extensions._tap_query(statement text) returns text
language sql immutable
as $$
    select case when statement like '"%' or statement !~ '\s' then 'execute ' || statement else statement end
$$;

create function extensions.throws_ok(statement text, want_code char(5), want_message text, description text) returns text
language plpgsql
as $$
declare
    wanted constant text := coalesce(nullif(concat_ws(': ', want_code::text, want_message), ''), 'an exception');
    told constant text := coalesce(description, 'threw ' || wanted);
    explanation constant text := E'\n      wanted: ' || wanted;
begin
    execute extensions._tap_query(statement);
    return extensions._tap_result(false, told, '      caught: no exception' || explanation);
exception
    when others or assert_failure then
        return extensions._tap_result(
            (want_code is null or want_code = sqlstate) and (want_message is null or want_message = sqlerrm),
            told, '      caught: ' || sqlstate || ': ' || sqlerrm || explanation);
end
$$;
create function extensions.throws_ok(statement text, code_or_message text, message_or_description text) returns text
language sql
as $$
    select case
        when octet_length(code_or_message) = 5
            then extensions.throws_ok(statement, code_or_message::char(5), message_or_description, null)
        else extensions.throws_ok(statement, null::char(5), code_or_message, message_or_description)
    end
$$;
create function extensions.throws_ok(statement text, code_or_message text) returns text
language sql
as $$
    select case
        when octet_length(code_or_message) = 5 then extensions.throws_ok(statement, code_or_message::char(5), null, null)
        else extensions.throws_ok(statement, null::char(5), code_or_message, null)
    end
$$;
create function extensions.throws_ok(statement text) returns text
language sql as $$ select extensions.throws_ok(statement, null::char(5), null, null) $$;
create function extensions.throws_ok(statement text, want_code int, want_message text, description text) returns text
language sql as $$ select extensions.throws_ok(statement, want_code::char(5), want_message, description) $$;
create function extensions.throws_ok(statement text, want_code int, want_message text) returns text
language sql as $$ select extensions.throws_ok(statement, want_code::char(5), want_message, null) $$;
create function extensions.throws_ok(statement text, want_code int) returns text
language sql as $$ select extensions.throws_ok(statement, want_code::char(5), null, null) $$;

-- The message of the error that a statement raises; null where it raises none. What it did is undone in either case.
create function extensions._tap_error(statement text) returns text
language plpgsql
as $$
begin
    execute extensions._tap_query(statement);
    return null;
exception
    when others or assert_failure then
        return sqlerrm;
end
$$;

create function extensions._tap_threw(message text, passed boolean, pattern text, description text) returns text
language sql
as $$
    select extensions._tap_result(
        coalesce(passed, false), description,
        case
            when message is null then '    no exception thrown'
            else '   error message: ' || quote_literal(message) || E'\n   doesn''t match: ' || coalesce(quote_literal(pattern), 'NULL')
        end)
$$;

create function extensions.throws_like(statement text, pattern text, description text) returns text
language sql as $$ select extensions._tap_threw(m, m like pattern, pattern, description) from extensions._tap_error(statement) as m $$;
create function extensions.throws_like(statement text, pattern text) returns text
language sql as $$ select extensions.throws_like(statement, pattern, 'Should throw exception like ' || quote_literal(pattern)) $$;
create function extensions.throws_ilike(statement text, pattern text, description text) returns text
language sql as $$ select extensions._tap_threw(m, m ilike pattern, pattern, description) from extensions._tap_error(statement) as m $$;
create function extensions.throws_ilike(statement text, pattern text) returns text
language sql as $$ select extensions.throws_ilike(statement, pattern, 'Should throw exception like ' || quote_literal(pattern)) $$;
create function extensions.throws_matching(statement text, pattern text, description text) returns text
language sql as $$ select extensions._tap_threw(m, m ~ pattern, pattern, description) from extensions._tap_error(statement) as m $$;
create function extensions.throws_matching(statement text, pattern text) returns text
language sql as $$ select extensions.throws_matching(statement, pattern, 'Should throw exception matching ' || quote_literal(pattern)) $$;
create function extensions.throws_imatching(statement text, pattern text, description text) returns text
language sql as $$ select extensions._tap_threw(m, m ~* pattern, pattern, description) from extensions._tap_error(statement) as m $$;
create function extensions.throws_imatching(statement text, pattern text) returns text
language sql as $$ select extensions.throws_imatching(statement, pattern, 'Should throw exception matching ' || quote_literal(pattern)) $$;

create function extensions.lives_ok(statement text, description text) returns text
language plpgsql
as $$
declare
    about text;
begin
    execute extensions._tap_query(statement);
    return extensions.ok(true, description);
exception
    when others or assert_failure then
        get stacked diagnostics about = pg_exception_detail;
        return extensions._tap_result(
            false, description,
            '    died: ' || sqlstate || ': ' || sqlerrm || coalesce(E'\n        DETAIL:  ' || nullif(about, ''), ''));
end
$$;
create function extensions.lives_ok(statement text) returns text
language sql as $$ select extensions.lives_ok(statement, null) $$;

create function extensions.performs_ok(statement text, limit_ms numeric, description text) returns text
language plpgsql
as $$
declare
    started constant timestamptz := clock_timestamp();
    took_ms numeric;
begin
    execute extensions._tap_query(statement);
    took_ms := round(extract(epoch from clock_timestamp() - started)::numeric * 1000, 3);
    return extensions._tap_result(
        took_ms <= limit_ms, description, '      runtime: ' || took_ms || E' ms\n      exceeds: ' || limit_ms || ' ms');
end
$$;
create function extensions.performs_ok(statement text, limit_ms numeric) returns text
language sql
as $$ select extensions.performs_ok(statement, limit_ms, 'Should run in less than ' || limit_ms || ' ms') $$;

create function extensions.performs_within(statement text, average_ms numeric, within_ms numeric, iterations int, description text)
returns text
language plpgsql
as $$
declare
    started timestamptz;
    times_ms numeric[] := '{}';
    have_ms numeric;
begin
    for _ in 1..iterations loop
        started := clock_timestamp();
        execute extensions._tap_query(statement);
        times_ms := times_ms || extract(epoch from clock_timestamp() - started)::numeric * 1000;
    end loop;
    select round(avg(t), 3) into have_ms from unnest(times_ms) as t;
    return extensions._tap_result(
        abs(have_ms - average_ms) <= within_ms, description,
        ' average runtime: ' || have_ms || E' ms\n desired average: ' || average_ms || ' +/- ' || within_ms || ' ms');
end
$$;
create function extensions.performs_within(statement text, average_ms numeric, within_ms numeric, description text) returns text
language sql as $$ select extensions.performs_within(statement, average_ms, within_ms, 10, description) $$;
create function extensions.performs_within(statement text, average_ms numeric, within_ms numeric) returns text
language sql
as $$
    select extensions.performs_within(
        statement, average_ms, within_ms, 10, 'Should run within ' || average_ms || ' +/- ' || within_ms || ' ms')
$$;
