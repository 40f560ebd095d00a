-- What may stand in cron.job: a schedule and a time zone that exist, for a user whom the writer may become.

-- The words are those of basalt.config.parse_cron_line: what one accepts the other does.
create or replace function cron.find_schedule_problem(schedule text) returns text
language plpgsql
immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    nicknames constant text[] :=
        '{@yearly,@annually,@monthly,@weekly,@daily,@midnight,@hourly,@reboot,@restart}';
    labels constant text[] := array['minute', 'hour', 'day of month', 'month', 'day of week'];
    trimmed text := btrim(schedule, E' \t\r\n');
    seconds text := (regexp_match(trimmed, '^([0-9]+)[ \t\r\n]*[sS][eE][cC][oO][nN][dD][sS]?$'))[1];
    parts text[];
begin
    if length(schedule) > 999 then
        return 'the schedule is longer than 999 characters';
    elsif trimmed = '' then
        return 'the schedule is empty';
    elsif seconds is not null then
        return case when not cron.is_number(seconds, 1, 59) then format('seconds: %s is not from 1 to 59', seconds) end;
    elsif trimmed = any(nicknames) then
        return null;
    elsif starts_with(trimmed, '@') then
        return format('%s is not one of %s', trimmed, array_to_string(nicknames, ', '));
    end if;
    parts := regexp_split_to_array(trimmed, '[ \t\r\n]+');
    if cardinality(parts) <> 5 then
        return format('fields: %s where 5 are expected: %s', cardinality(parts), array_to_string(labels, ', '));
    end if;
    return coalesce(
        cron.find_field_problem('minute', parts[1], 0, 59),
        cron.find_field_problem('hour', parts[2], 0, 23),
        case when parts[3] <> '$' then cron.find_field_problem('day of month', parts[3], 1, 31) end,
        cron.find_field_problem('month', parts[4], 1, 12, '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}'),
        cron.find_field_problem('day of week', parts[5], 0, 7, '{sun,mon,tue,wed,thu,fri,sat}'));
end
$$;

comment on function cron.find_schedule_problem(text) is 'Why a schedule cannot be read; null when it can.';

create or replace function cron.find_field_problem(label text, field text, low integer, high integer, names text[] default '{}')
returns text
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    item text;
    body text;
    step text;
    value text;
    bounds integer[];
begin
    foreach item in array string_to_array(field, ',') loop
        body := split_part(item, '/', 1);
        step := case when strpos(item, '/') > 0 then substr(item, strpos(item, '/') + 1) end;
        bounds := '{}';
        if body <> '*' then
            foreach value in array array_remove(
                array[split_part(body, '-', 1), case when strpos(body, '-') > 0 then substr(body, strpos(body, '-') + 1) end],
                null)
            loop
                if lower(value) = any(names) then
                    bounds := bounds || low + array_position(names, lower(value)) - 1;
                elsif value !~ '^[0-9]+$' then
                    return format('%s: "%s" is %s', label, value,
                        case when names = '{}' then 'not a number' else 'neither a number nor a name' end);
                elsif not cron.is_number(value, low, high) then
                    return format('%s: %s is not from %s to %s', label, value, low, high);
                else
                    bounds := bounds || value::integer;
                end if;
            end loop;
            if bounds[1] > bounds[2] then
                return format('%s: the range %s runs backwards', label, body);
            elsif step is not null and cardinality(bounds) = 1 then
                return format('%s: the step of %s needs a range or *', label, item);
            end if;
        end if;
        if not cron.is_number(step, 1, high) then
            return format('%s: the step of %s is not from 1 to %s', label, item, high);
        end if;
    end loop;
    return null;
end
$$;

comment on function cron.find_field_problem(text, text, integer, integer, text[]) is
    'Why one field of a schedule cannot be read; null when it can.';

create or replace function cron.is_number(text text, low integer, high integer) returns boolean
language sql
immutable strict
set search_path = pg_catalog, pg_temp
as $$
    select case when text ~ '^[0-9]{1,9}$' then text::integer between low and high else false end
$$;

comment on function cron.is_number(text, integer, integer) is 'Whether a text is a number between two bounds.';

-- Row-level security does not stop a role that passes it, and the worker runs a command as the schedule's user. On a server
-- where nobody logs in as `postgres`, the owner of this table stands in for it.
create or replace function cron.check_owner() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    username text;
    runs_as text;
begin
    foreach username in array array_remove(array[old.username, new.username], null) loop
        if username = old.username and pg_catalog.to_regrole(pg_catalog.quote_ident(username)) is null then
            continue;  -- dropped meanwhile: the schedule may go, and only who sees it gets here
        end if;
        select case
            when username in ('postgres', 'supabase_admin') and not r.rolcanlogin then pg_catalog.pg_get_userbyid(c.relowner)
            else username
        end into runs_as
        from pg_catalog.pg_class as c
        left join pg_catalog.pg_roles as r on r.rolname = username
        where c.oid = tg_relid;
        if not pg_catalog.pg_has_role(current_user, runs_as, 'member') then
            raise exception 'must be a member of role "%" to change its schedules', username
                using errcode = 'insufficient_privilege';
        end if;
    end loop;
    return coalesce(new, old);
end
$$;

comment on function cron.check_owner() is 'A schedule is changed only by who may become its user.';

create or replace trigger check_owner before insert or update or delete on cron.job
    for each row execute function cron.check_owner();

create or replace function cron.check_terms() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    problem text := cron.find_schedule_problem(new.schedule);
    zone text;
begin
    if problem is not null then
        raise exception 'invalid schedule: %', new.schedule
            using errcode = 'invalid_parameter_value', detail = problem,
                hint = 'Use cron format (e.g. 5 4 * * *), or interval format ''[1-59] seconds''';
    end if;
    if new.timezone is distinct from old.timezone and new.timezone not in ('UTC', 'GMT') then
        select z.name into zone from pg_catalog.pg_timezone_names as z where lower(z.name) = lower(new.timezone);
        if zone is null then
            raise exception 'invalid time zone: %', new.timezone
                using errcode = 'invalid_parameter_value',
                    hint = 'Use a name of pg_timezone_names, such as Asia/Singapore.';
        end if;
        new.timezone := zone;
    end if;
    if new.overlap not in ('skip', 'queue', 'allow') then
        raise exception 'invalid overlap policy: %', new.overlap
            using errcode = 'invalid_parameter_value', hint = 'Use skip, queue or allow.';
    elsif new.missed not in ('skip', 'once') then
        raise exception 'invalid policy for missed runs: %', new.missed
            using errcode = 'invalid_parameter_value', hint = 'Use skip or once.';
    end if;
    if (new.database, new.username) is distinct from (old.database, old.username)
        and not pg_catalog.has_database_privilege(new.username, new.database, 'connect') then
        raise exception 'User % does not have CONNECT privilege on %', new.username, new.database
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;

comment on function cron.check_terms() is 'A schedule is one that can be kept.';

create or replace trigger check_terms before insert or update on cron.job
    for each row execute function cron.check_terms();

-- Ticks count from now on where something about them changed, and the workers are told.
create or replace function cron.plan_again() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op <> 'INSERT' and not coalesce(new.active, false) then
        delete from cron.runs as r where r.jobid = old.jobid and r.state = 'waiting';
    end if;
    if new.active and (new.schedule, new.timezone, new.active) is distinct from (old.schedule, old.timezone, old.active) then
        insert into cron.ticks as t (jobid, since) values (new.jobid, clock_timestamp())
        on conflict (jobid) do update set since = excluded.since, next_tick = null, is_planned = false;
    end if;
    notify basalt_cron;
    return null;
end
$$;

comment on function cron.plan_again() is 'The next tick of a schedule that was made or changed is to be found again.';

create or replace trigger plan_again after insert or update or delete on cron.job
    for each row execute function cron.plan_again();
