-- The functions of pg_cron. A schedule is kept, so that migrations apply and the worker of a later version finds it; that nothing
-- runs it in this version is a warning.

-- Row-level security does not stop a role that passes it, and the worker runs a command as the schedule's user.
create or replace function cron.check_owner() returns trigger
language plpgsql
set search_path = ''
as $$
declare
    username text;
begin
    foreach username in array array_remove(array[old.username, new.username], null) loop
        if not pg_catalog.pg_has_role(current_user, username, 'member') then
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

create or replace function cron.schedule_in_database(
    job_name text, schedule text, command text, database text, username text default null, active boolean default true)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    job_id bigint;
begin
    if not (schedule ~ '^\s*(\S+\s+){4}\S+\s*$' or schedule ~ '^\s*@\w+\s*$' or schedule ~ '^\s*\d+ seconds?\s*$') then
        raise exception 'invalid schedule: %', schedule
            using errcode = 'invalid_parameter_value',
                hint = 'Use cron format (e.g. 5 4 * * *), or interval format ''[1-59] seconds''';
    end if;
    insert into cron.job as j (schedule, command, database, username, active, jobname)
    values (
        schedule_in_database.schedule, schedule_in_database.command, schedule_in_database.database,
        coalesce(schedule_in_database.username, current_user), schedule_in_database.active, job_name)
    on conflict on constraint jobname_username_uniq do update
        set schedule = excluded.schedule, command = excluded.command, database = excluded.database,
            active = excluded.active
    returning j.jobid into job_id;
    raise warning 'schedule % is kept, but running it needs Basalt''s worker, which this version does not have yet',
        coalesce(job_name, job_id::text);
    return job_id;
end
$$;

comment on function cron.schedule_in_database(text, text, text, text, text, boolean) is
    'Keeps a schedule for a database and a user.';

create or replace function cron.schedule(job_name text, schedule text, command text) returns bigint
language sql
set search_path = ''
as $$
    select cron.schedule_in_database(job_name, schedule, command, current_database())
$$;

comment on function cron.schedule(text, text, text) is 'Keeps a schedule under a name; the same name again replaces it.';

create or replace function cron.schedule(schedule text, command text) returns bigint
language sql
set search_path = ''
as $$
    select cron.schedule_in_database(null, schedule, command, current_database())
$$;

comment on function cron.schedule(text, text) is 'Keeps a schedule without a name.';

create or replace function cron.alter_job(
    job_id bigint, schedule text default null, command text default null, database text default null,
    username text default null, active boolean default null)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update cron.job as j
    set schedule = coalesce(alter_job.schedule, j.schedule), command = coalesce(alter_job.command, j.command),
        database = coalesce(alter_job.database, j.database), username = coalesce(alter_job.username, j.username),
        active = coalesce(alter_job.active, j.active)
    where j.jobid = job_id;
    if not found then
        raise exception 'Job % does not exist or you don''t own it', job_id;
    end if;
end
$$;

comment on function cron.alter_job(bigint, text, text, text, text, boolean) is
    'Changes a schedule; what is null stays as it is.';

create or replace function cron.unschedule(job_id bigint) returns boolean
language plpgsql
set search_path = ''
as $$
begin
    delete from cron.job as j
    where j.jobid = job_id;
    if not found then
        raise exception 'could not find valid entry for job ''%''', job_id;
    end if;
    return true;
end
$$;

comment on function cron.unschedule(bigint) is 'Removes a schedule by its number.';

create or replace function cron.unschedule(job_name text) returns boolean
language plpgsql
set search_path = ''
as $$
begin
    delete from cron.job as j
    where j.jobname = job_name and j.username = current_user;
    if not found then
        raise exception 'could not find valid entry for job ''%''', job_name;
    end if;
    return true;
end
$$;

comment on function cron.unschedule(text) is 'Removes a schedule by its name.';

revoke execute on all functions in schema cron from public;
grant execute on all functions in schema cron to postgres with grant option;
