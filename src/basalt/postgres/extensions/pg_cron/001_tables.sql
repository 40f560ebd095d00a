-- The tables of pg_cron: schedules and what became of their runs.
do $$
begin
    if to_regnamespace('cron') is null then
        create schema cron;
    end if;
end
$$;

create sequence cron.jobid_seq;
create sequence cron.runid_seq;

create table cron.job (
    jobid bigint primary key default nextval('cron.jobid_seq'),
    schedule text not null,
    command text not null,
    nodename text not null default 'localhost',
    nodeport integer not null default coalesce(inet_server_port(), 5432),
    database text not null default current_database(),
    username text not null default current_user,
    active boolean not null default true,
    jobname text,
    constraint jobname_username_uniq unique (jobname, username)
);

comment on table cron.job is 'Schedules: a cron expression and the SQL to run.';

create table cron.job_run_details (
    jobid bigint,
    runid bigint primary key default nextval('cron.runid_seq'),
    job_pid integer,
    database text,
    username text,
    command text,
    status text,
    return_message text,
    start_time timestamptz,
    end_time timestamptz
);

comment on table cron.job_run_details is 'One row per run of a schedule.';

alter table cron.job enable row level security;
alter table cron.job_run_details enable row level security;
create policy cron_job_policy on cron.job using (username = current_user);
create policy cron_job_run_details_policy on cron.job_run_details using (username = current_user);

grant usage on schema cron to postgres with grant option;
grant select, delete on cron.job to postgres with grant option;
grant select, delete on cron.job_run_details to postgres with grant option;
