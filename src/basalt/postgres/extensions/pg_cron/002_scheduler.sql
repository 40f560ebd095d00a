-- What Basalt adds to pg_cron's tables, and what its schedulers agree by: the next tick of each schedule and the runs in hand.

alter table cron.job
    add column timezone text not null default coalesce(nullif(current_setting('cron.timezone', true), ''), 'UTC'),
    add column overlap text not null default 'queue' check (overlap in ('skip', 'queue', 'allow')),
    add column missed text not null default 'skip' check (missed in ('skip', 'once')),
    add column is_configured boolean not null default false;

comment on column cron.job.timezone is 'IANA name of the time zone that the schedule is read in.';
comment on column cron.job.overlap is
    'What a tick does while a run is still going on: skip it, queue one run (as pg_cron), or allow several at once.';
comment on column cron.job.missed is 'What becomes of ticks that passed while no worker ran: skip them (as pg_cron), or run once.';
comment on column cron.job.is_configured is 'Made by [functions.NAME] schedule in config.toml, and goes with it.';

alter table cron.job_run_details add column tick timestamptz;
comment on column cron.job_run_details.tick is 'The instant that the run is for; null where somebody asked for it.';
-- One run per tick, over any number of workers.
create unique index job_run_details_jobid_tick_idx on cron.job_run_details (jobid, tick);
create index job_run_details_jobid_runid_idx on cron.job_run_details (jobid, runid);
create index job_run_details_end_time_idx on cron.job_run_details (end_time);

create table cron.ticks (
    jobid bigint primary key references cron.job on delete cascade,
    since timestamptz not null default clock_timestamp(),
    next_tick timestamptz,
    is_planned boolean not null default false
) with (fillfactor = 50);

comment on table cron.ticks is
    'When each schedule is due next. `since` is when it was made or changed: ticks count from there. One without a next tick '
    'though it is planned never comes, or waits for a start of PostgreSQL.';
create index ticks_next_tick_idx on cron.ticks (next_tick);

create table cron.runs (
    runid bigint primary key default nextval('cron.runid_seq'),
    jobid bigint not null,
    tick timestamptz,
    state text not null default 'waiting' check (state in ('waiting', 'running')),
    is_alone boolean not null,
    worker bigint check ((worker is null) = (state = 'waiting'))
);

comment on table cron.runs is
    'Runs in hand. `worker` is the key of the advisory lock that the running worker holds as long as it lives; `is_alone` '
    'means that no second run of the schedule may go on beside it.';
create unique index runs_alone_idx on cron.runs (jobid, state) where is_alone;
create index runs_jobid_idx on cron.runs (jobid);

insert into cron.ticks (jobid) select jobid from cron.job;

alter table cron.ticks enable row level security;
alter table cron.runs enable row level security;

-- As with pg_cron, usage of the schema decides who may have schedules; row-level security and the trigger keep them to their own.
grant select, delete on cron.job to public;
grant insert (jobid, schedule, command, nodename, nodeport, database, username, active, jobname, timezone, overlap, missed),
    update (jobid, schedule, command, nodename, nodeport, database, username, active, jobname, timezone, overlap, missed)
    on cron.job to public;
grant select, delete on cron.job_run_details to public;
grant usage, select on sequence cron.jobid_seq to public;
grant select on sequence cron.runid_seq to public;

-- A dump holds schedules and history, as it does with pg_cron.
do $$
begin
    if exists (select from pg_catalog.pg_extension where extname = 'pg_cron') then
        perform pg_catalog.pg_extension_config_dump('cron.job', '');
        perform pg_catalog.pg_extension_config_dump('cron.jobid_seq', '');
        perform pg_catalog.pg_extension_config_dump('cron.job_run_details', '');
        perform pg_catalog.pg_extension_config_dump('cron.runid_seq', '');
    end if;
end
$$;
