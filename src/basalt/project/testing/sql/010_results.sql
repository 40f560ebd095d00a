-- Test results as lines of TAP: the assertions of pgTAP, with its names, arguments and answers, for a server that has no pgTAP.
-- Numbers come from sequences, which a rollback to a savepoint does not turn back; the plan and the todos are settings.

create function extensions._tap_comment(message text) returns text
language sql immutable
set search_path = ''
as $$
    select '# ' || pg_catalog.replace(
        pg_catalog.replace(pg_catalog.replace(message, E'\r\n', E'\n'), E'\r', E'\n'), E'\n', E'\n# ')
$$;

create function extensions._tap_used(name text) returns int
language plpgsql
as $$
declare
    used int;
begin
    if pg_catalog.to_regclass('pg_temp.' || name) is null then
        return 0;
    end if;
    execute pg_catalog.format('select case when is_called then last_value else 0 end from pg_temp.%I', name) into used;
    return used;
end
$$;

create function extensions._tap_start(planned int) returns void
language plpgsql
as $$
begin
    if pg_catalog.to_regclass('pg_temp.basalt_tap_number') is not null then
        raise exception 'There is a plan already' using errcode = 'P0001';
    end if;
    execute 'create temporary sequence basalt_tap_number';
    execute 'create temporary sequence basalt_tap_failed';
    execute 'grant all on pg_temp.basalt_tap_number, pg_temp.basalt_tap_failed to public';
    perform pg_catalog.set_config('basalt_tap.plan', planned::text, false);
    perform pg_catalog.set_config('basalt_tap.todo', '[]', false);
end
$$;

create function extensions.plan(planned int) returns text
language plpgsql strict
as $$
begin
    perform extensions._tap_start(planned);
    return '1..' || planned;
end
$$;
comment on function extensions.plan(int) is 'How many tests this transaction will run; the first statement of a test.';

create function extensions.no_plan() returns setof boolean
language plpgsql
as $$
begin
    perform extensions._tap_start(0);
end
$$;

create function extensions.diag(message text) returns text
language sql immutable strict
as $$ select extensions._tap_comment(message) $$;

create function extensions.diag(message anyelement) returns text
language sql stable
as $$ select extensions._tap_comment(message::text) $$;

create function extensions.diag(variadic messages text[]) returns text
language sql immutable
as $$ select extensions._tap_comment(pg_catalog.array_to_string(messages, '')) $$;

create function extensions.diag(variadic messages anyarray) returns text
language sql stable
as $$ select extensions._tap_comment(pg_catalog.array_to_string(messages, '')) $$;

-- The reason why the next test is expected to fail, null without one; one that is counted is used up.
create function extensions._tap_todo() returns text
language plpgsql
as $$
declare
    todos jsonb := coalesce(nullif(current_setting('basalt_tap.todo', true), ''), '[]')::jsonb;
    latest jsonb := todos -> -1;
begin
    if latest is null then
        return null;
    end if;
    if (latest ->> 'left')::int = 1 then
        todos := todos - -1;
    elsif (latest ->> 'left')::int > 1 then
        todos := jsonb_set(todos, array[(jsonb_array_length(todos) - 1)::text, 'left'], to_jsonb((latest ->> 'left')::int - 1));
    end if;
    perform set_config('basalt_tap.todo', todos::text, false);
    return latest ->> 'why';
end
$$;

create function extensions._tap_add_todo(why text, how_many int) returns void
language plpgsql
as $$
begin
    if how_many = 0 then
        return;
    end if;
    perform set_config(
        'basalt_tap.todo',
        (coalesce(nullif(current_setting('basalt_tap.todo', true), ''), '[]')::jsonb
            || jsonb_build_object('why', coalesce(why, ''), 'left', how_many))::text,
        false);
end
$$;

create function extensions.todo(why text, how_many int) returns setof boolean
language plpgsql as $$ begin perform extensions._tap_add_todo(why, coalesce(how_many, 1)); end $$;
create function extensions.todo(how_many int, why text) returns setof boolean
language plpgsql as $$ begin perform extensions._tap_add_todo(why, coalesce(how_many, 1)); end $$;
create function extensions.todo(why text) returns setof boolean
language plpgsql as $$ begin perform extensions._tap_add_todo(why, 1); end $$;
create function extensions.todo(how_many int) returns setof boolean
language plpgsql as $$ begin perform extensions._tap_add_todo('', coalesce(how_many, 1)); end $$;
create function extensions.todo_start(why text) returns setof boolean
language plpgsql as $$ begin perform extensions._tap_add_todo(why, -1); end $$;
create function extensions.todo_start() returns setof boolean
language plpgsql as $$ begin perform extensions._tap_add_todo('', -1); end $$;

create function extensions.in_todo() returns boolean
language sql
as $$ select jsonb_array_length(coalesce(nullif(current_setting('basalt_tap.todo', true), ''), '[]')::jsonb) > 0 $$;

create function extensions.todo_end() returns setof boolean
language plpgsql
as $$
declare
    todos jsonb := coalesce(nullif(current_setting('basalt_tap.todo', true), ''), '[]')::jsonb;
    started int;
begin
    select max(position) into started
    from jsonb_array_elements(todos) with ordinality as t (todo, position)
    where (todo ->> 'left')::int = -1;
    if started is null then
        raise exception 'todo_end() without todo_start()';
    end if;
    perform set_config('basalt_tap.todo', (todos - (started - 1))::text, false);
end
$$;

create function extensions.ok(passed boolean, description text) returns text
language plpgsql
as $$
declare
    why text;
    number int;
    line text;
begin
    if pg_catalog.to_regclass('pg_temp.basalt_tap_number') is null then
        raise exception 'A test ran before plan() or no_plan()' using hint = 'Begin with `select plan(N);`.';
    end if;
    why := extensions._tap_todo();
    number := nextval('pg_temp.basalt_tap_number'::text::regclass);
    line := 'ok ' || number
        || case when description is null or description = '' then ''
            else ' - ' || substr(extensions._tap_comment(description), 3) end
        || coalesce(' # TODO ' || why, '');
    if passed then
        return line;
    end if;
    if why is null then
        perform nextval('pg_temp.basalt_tap_failed'::text::regclass);
    end if;
    return 'not ' || line || E'\n' || extensions._tap_comment(
        'Failed ' || case when why is null then '' else '(TODO) ' end || 'test ' || number
        || case when description is null or description = '' then '' else ': "' || description || '"' end
        || case when passed is null then E'\n    (test result was NULL)' else '' end);
end
$$;
comment on function extensions.ok(boolean, text) is 'The assertion that all others end in: one line of TAP, and comments when it fails.';

create function extensions.ok(passed boolean) returns text
language sql as $$ select extensions.ok(passed, null) $$;

-- A result with an explanation that is told only when it failed.
create function extensions._tap_result(passed boolean, description text, explanation text) returns text
language sql
as $$
    select extensions.ok(passed, description)
        || case when passed or explanation is null then '' else E'\n' || extensions._tap_comment(explanation) end
$$;

create function extensions.pass(description text) returns text
language sql as $$ select extensions.ok(true, description) $$;
create function extensions.pass() returns text
language sql as $$ select extensions.ok(true, null) $$;
create function extensions.fail(description text) returns text
language sql as $$ select extensions.ok(false, description) $$;
create function extensions.fail() returns text
language sql as $$ select extensions.ok(false, null) $$;

create function extensions.skip(why text, how_many int) returns text
language plpgsql
as $$
declare
    lines text[];
begin
    for _ in 1..coalesce(how_many, 1) loop
        lines := lines || (extensions.ok(true, null) || ' # SKIP' || coalesce(' ' || nullif(why, ''), ''));
    end loop;
    return array_to_string(lines, E'\n');
end
$$;
create function extensions.skip(how_many int, why text) returns text
language sql as $$ select extensions.skip(why, how_many) $$;
create function extensions.skip(why text) returns text
language sql as $$ select extensions.skip(why, 1) $$;
create function extensions.skip(how_many int) returns text
language sql as $$ select extensions.skip(''::text, how_many) $$;

create function extensions.num_failed() returns int
language sql as $$ select extensions._tap_used('basalt_tap_failed') $$;

create function extensions.finish(exception_on_failure boolean default null) returns setof text
language plpgsql
as $$
declare
    ran constant int := extensions._tap_used('basalt_tap_number');
    failed constant int := extensions._tap_used('basalt_tap_failed');
    planned int := coalesce(nullif(current_setting('basalt_tap.plan', true), ''), '0')::int;
begin
    if ran = 0 then
        raise exception '# No tests run!';
    end if;
    if planned = 0 then
        planned := ran;
        return next '1..' || planned;
    end if;
    if ran <> planned then
        return next extensions._tap_comment(format(
            'Looks like you planned %s test%s but ran %s', planned, case planned when 1 then '' else 's' end, ran));
    elsif failed > 0 then
        if exception_on_failure then
            raise exception '% test% failed of %', failed, case failed when 1 then '' else 's' end, planned;
        end if;
        return next extensions._tap_comment(format(
            'Looks like you failed %s test%s of %s', failed, case failed when 1 then '' else 's' end, planned));
    end if;
end
$$;
comment on function extensions.finish(boolean) is 'The end of a test: tells when the plan was not kept.';

create function extensions.pgtap_version() returns numeric
language sql immutable as $$ select 1.3 $$;
create function extensions.pg_version() returns text
language sql immutable as $$ select current_setting('server_version') $$;
create function extensions.pg_version_num() returns int
language sql immutable as $$ select current_setting('server_version_num')::int $$;

create function extensions.collect_tap(variadic lines text[]) returns text
language sql as $$ select array_to_string(lines, E'\n') $$;
