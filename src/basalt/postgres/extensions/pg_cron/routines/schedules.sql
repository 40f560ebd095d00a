-- The functions of pg_cron, with its signatures, and two more for what Basalt adds. What they may not is decided by row-level
-- security and the triggers of cron.job.

create or replace function cron.put_job(
    job_name text, schedule text, command text, database text, username text, active boolean, timezone text, overlap text,
    missed text)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    job_id bigint;
begin
    if schedule is null then
        raise exception 'schedule can not be NULL' using errcode = 'null_value_not_allowed';
    elsif command is null then
        raise exception 'command can not be NULL' using errcode = 'null_value_not_allowed';
    end if;
    insert into cron.job as j (schedule, command, database, username, active, jobname, timezone, overlap, missed)
    values (
        put_job.schedule, put_job.command, coalesce(put_job.database, current_database()),
        coalesce(put_job.username, current_user), coalesce(put_job.active, true), job_name,
        coalesce(put_job.timezone, nullif(current_setting('cron.timezone', true), ''), 'UTC'),
        coalesce(put_job.overlap, 'queue'), coalesce(put_job.missed, 'skip'))
    on conflict on constraint jobname_username_uniq do update
        set schedule = excluded.schedule, command = excluded.command, database = excluded.database,
            timezone = coalesce(put_job.timezone, j.timezone), overlap = coalesce(put_job.overlap, j.overlap),
            missed = coalesce(put_job.missed, j.missed)
    returning j.jobid into job_id;
    return job_id;
end
$$;

comment on function cron.put_job(text, text, text, text, text, boolean, text, text, text) is
    'Makes a schedule, or changes the one of this name.';

create or replace function cron.schedule(schedule text, command text) returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $$
    select cron.put_job(null, schedule, command, null, null, null, null, null, null)
$$;

comment on function cron.schedule(text, text) is 'Makes a schedule without a name.';

create or replace function cron.schedule(job_name text, schedule text, command text) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if job_name is null then
        raise exception 'job_name can not be NULL' using errcode = 'null_value_not_allowed';
    end if;
    return cron.put_job(job_name, schedule, command, null, null, null, null, null, null);
end
$$;

comment on function cron.schedule(text, text, text) is 'Makes a schedule with a name; the same name again changes it.';

create or replace function cron.schedule(
    job_name text, schedule text, command text, timezone text, overlap text default null, missed text default null)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if job_name is null then
        raise exception 'job_name can not be NULL' using errcode = 'null_value_not_allowed';
    end if;
    return cron.put_job(job_name, schedule, command, null, null, null, timezone, overlap, missed);
end
$$;

comment on function cron.schedule(text, text, text, text, text, text) is
    'Makes a schedule in a time zone, and says what overlapping and missed ticks do.';

create or replace function cron.schedule_in_database(
    job_name text, schedule text, command text, database text, username text default null, active boolean default true)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if job_name is null then
        raise exception 'job_name can not be NULL' using errcode = 'null_value_not_allowed';
    end if;
    return cron.put_job(job_name, schedule, command, database, username, active, null, null, null);
end
$$;

comment on function cron.schedule_in_database(text, text, text, text, text, boolean) is
    'Makes a schedule for a database and a user.';

create or replace function cron.schedule_in_database(
    job_name text, schedule text, command text, database text, username text, active boolean, timezone text,
    overlap text default null, missed text default null)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if job_name is null then
        raise exception 'job_name can not be NULL' using errcode = 'null_value_not_allowed';
    end if;
    return cron.put_job(job_name, schedule, command, database, username, active, timezone, overlap, missed);
end
$$;

comment on function cron.schedule_in_database(text, text, text, text, text, boolean, text, text, text) is
    'Makes a schedule for a database and a user, in a time zone.';

create or replace function cron.alter_job(
    job_id bigint, schedule text default null, command text default null, database text default null,
    username text default null, active boolean default null)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if job_id is null then
        raise exception 'job_id can not be NULL' using errcode = 'null_value_not_allowed';
    elsif num_nonnulls(schedule, command, database, username, active) = 0 then
        raise exception 'no updates specified'
            using hint = 'You must specify at least one job attribute to change when calling alter_job';
    end if;
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

-- Of nothing, nothing is removed: `select cron.unschedule((select jobid from cron.job where …))` passes where there is none.
create or replace function cron.unschedule(job_id bigint) returns boolean
language plpgsql
strict
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from cron.job as j
    where j.jobid = job_id;
    if not found then
        raise exception 'could not find valid entry for job %', job_id;
    end if;
    return true;
end
$$;

comment on function cron.unschedule(bigint) is 'Removes a schedule by its number.';

create or replace function cron.unschedule(job_name text) returns boolean
language plpgsql
strict
set search_path = pg_catalog, pg_temp
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

-- Usage of the schema decides who may schedule; these three are for whom the administrator names.
revoke execute on all functions in schema cron from public;
grant execute on all functions in schema cron to postgres with grant option;
grant execute on function
    cron.find_schedule_problem(text), cron.find_field_problem(text, text, integer, integer, text[]),
    cron.is_number(text, integer, integer),
    cron.put_job(text, text, text, text, text, boolean, text, text, text),
    cron.schedule(text, text), cron.schedule(text, text, text), cron.schedule(text, text, text, text, text, text),
    cron.unschedule(bigint), cron.unschedule(text)
    to public;

notify basalt_cron;
