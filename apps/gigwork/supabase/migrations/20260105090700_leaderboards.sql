-- Leaderboards: points of a period, from the log, in calendar periods of Asia/Singapore.

create table public.leaderboard (
    period_type text not null check (period_type in ('daily', 'weekly', 'monthly', 'all_time')),
    period_start date not null,
    user_id uuid not null references public.users (id) on delete cascade,
    display_name text not null,
    points_earned int not null,
    gigs_completed int not null,
    hours_worked numeric(12, 4) not null,
    rank int not null check (rank > 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (period_type, period_start, user_id)
);
comment on table public.leaderboard is 'Standings as of the last refresh_leaderboard, one row per period and user with points.';
comment on column public.leaderboard.period_type is 'daily, weekly, monthly or all_time.';
comment on column public.leaderboard.points_earned is 'Points logged in the period, of every reason; corrections subtract.';
comment on column public.leaderboard.gigs_completed is 'Gigs with a shift that ended in the period.';
comment on column public.leaderboard.hours_worked is 'Hours of shifts that ended in the period.';
comment on column public.leaderboard.period_start is
    'First day of the period in Asia/Singapore (weeks begin on Monday); 1970-01-01 for all_time.';
comment on column public.leaderboard.display_name is 'First name and initial: all that others learn of a person.';
comment on column public.leaderboard.rank is 'Equal points share a rank, and the next rank is skipped.';

create index leaderboard_period_rank_idx on public.leaderboard (period_type, period_start, rank);
create index leaderboard_user_id_idx on public.leaderboard (user_id);

create trigger leaderboard_touch_updated_at
before update on public.leaderboard
for each row execute function private.touch_updated_at();

alter table public.leaderboard enable row level security;

create policy "signed-in users view the leaderboard"
on public.leaderboard for select to authenticated
using (true);

revoke all on public.leaderboard from anon, authenticated, service_role;
grant select on public.leaderboard to authenticated, service_role;

create function private.display_name(p_full_name text)
returns text
language sql
immutable
set search_path = ''
as $$
    select coalesce(
        nullif(split_part(trim(p_full_name), ' ', 1), '')
        || coalesce(' ' || nullif(left(substring(trim(p_full_name) from ' +([^ ]+)$'), 1), '') || '.', ''),
        'Worker'
    )
$$;
comment on function private.display_name(text) is '"Aisyah binti Rahman" becomes "Aisyah R."; nobody''s name becomes "Worker".';

create function private.leaderboard_period(
    p_period_type text,
    p_day date,
    out period_start date,
    out starts_at timestamptz,
    out ends_at timestamptz
)
language sql
immutable
set search_path = ''
as $$
    with days as (
        select
            case p_period_type
                when 'daily' then p_day
                when 'weekly' then date_trunc('week', p_day::timestamp)::date
                when 'monthly' then date_trunc('month', p_day::timestamp)::date
                when 'all_time' then date '1970-01-01'
            end as first_day,
            case p_period_type
                when 'daily' then p_day + 1
                when 'weekly' then date_trunc('week', p_day::timestamp)::date + 7
                when 'monthly' then (date_trunc('month', p_day::timestamp) + interval '1 month')::date
                when 'all_time' then date 'infinity'
            end as next_day
    )
    select
        first_day,
        first_day::timestamp at time zone 'Asia/Singapore',
        next_day::timestamp at time zone 'Asia/Singapore'
    from days
$$;
comment on function private.leaderboard_period(text, date) is
    'The period that contains a day: its first day, and its half-open interval of instants.';

create function private.standings(p_starts_at timestamptz, p_ends_at timestamptz)
returns table (
    user_id uuid,
    display_name text,
    points_earned int,
    gigs_completed int,
    hours_worked numeric,
    rank int
)
language sql
stable
security definer
set search_path = ''
as $$
    with earned as (
        select p.user_id, sum(p.points)::int as points
        from public.points_log as p
        where p.created_at >= p_starts_at and p.created_at < p_ends_at
        group by p.user_id
        having sum(p.points) > 0
    ),
    worked as (
        select t.user_id, count(distinct t.gig_id)::int as gigs, sum(t.total_hours_worked) as hours
        from public.timesheets as t
        where t.clock_out >= p_starts_at and t.clock_out < p_ends_at
        group by t.user_id
    )
    select
        e.user_id,
        private.display_name(u.full_name),
        e.points,
        coalesce(w.gigs, 0),
        coalesce(w.hours, 0),
        rank() over (order by e.points desc)::int
    from earned as e
    join public.users as u on u.id = e.user_id
    left join worked as w on w.user_id = e.user_id
$$;
comment on function private.standings(timestamptz, timestamptz) is
    'Points from the log (so that applications, bonuses and corrections count), with gigs and hours of shifts that ended in the interval.';

create materialized view public.weekly_leaderboard as
select
    s.user_id,
    s.display_name,
    s.points_earned,
    s.gigs_completed,
    s.hours_worked,
    s.rank,
    week.period_start as week_start
from private.leaderboard_period('weekly', private.singapore_day(now())) as week
cross join private.standings(week.starts_at, week.ends_at) as s;
comment on materialized view public.weekly_leaderboard is
    'The running week as of the last refresh_leaderboard(''weekly'').';
comment on column public.weekly_leaderboard.display_name is 'First name and initial.';
comment on column public.weekly_leaderboard.points_earned is 'Points logged this week.';
comment on column public.weekly_leaderboard.gigs_completed is 'Gigs with a shift that ended this week.';
comment on column public.weekly_leaderboard.hours_worked is 'Hours of shifts that ended this week.';
comment on column public.weekly_leaderboard.rank is 'Equal points share a rank.';
comment on column public.weekly_leaderboard.week_start is 'Monday of the week of the last refresh.';

create unique index weekly_leaderboard_user_id_idx on public.weekly_leaderboard (user_id);
create index weekly_leaderboard_rank_idx on public.weekly_leaderboard (rank);

-- A materialized view has no row-level security; what it shows is for every signed-in user.
revoke all on public.weekly_leaderboard from anon, authenticated, service_role;
grant select on public.weekly_leaderboard to authenticated, service_role;

create function public.refresh_leaderboard(p_period_type text, p_period_start date default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_today constant date := private.singapore_day(now());
    v_period record;
    v_entries int;
begin
    if p_period_type is null or p_period_type not in ('daily', 'weekly', 'monthly', 'all_time') then
        perform private.fail(
            'VALIDATION_ERROR', 400, 'A period is daily, weekly, monthly or all_time',
            jsonb_build_object('period_type', p_period_type));
    end if;
    select * into v_period from private.leaderboard_period(p_period_type, coalesce(p_period_start, v_today));
    -- Two refreshes of one period take turns; readers never wait.
    perform pg_advisory_xact_lock(hashtextextended('gigwork.leaderboard.' || p_period_type, 0));

    delete from public.leaderboard as l
    where l.period_type = p_period_type
        and l.period_start = v_period.period_start
        and l.user_id not in (select s.user_id from private.standings(v_period.starts_at, v_period.ends_at) as s);
    insert into public.leaderboard as l
        (period_type, period_start, user_id, display_name, points_earned, gigs_completed, hours_worked, rank)
    select
        p_period_type, v_period.period_start, s.user_id, s.display_name, s.points_earned, s.gigs_completed,
        s.hours_worked, s.rank
    from private.standings(v_period.starts_at, v_period.ends_at) as s
    on conflict (period_type, period_start, user_id) do update
    set display_name = excluded.display_name,
        points_earned = excluded.points_earned,
        gigs_completed = excluded.gigs_completed,
        hours_worked = excluded.hours_worked,
        rank = excluded.rank;
    get diagnostics v_entries = row_count;

    if p_period_type = 'weekly' and v_period.period_start = date_trunc('week', v_today::timestamp)::date then
        refresh materialized view concurrently public.weekly_leaderboard;
    end if;
    return json_build_object(
        'period_type', p_period_type,
        'period_start', v_period.period_start,
        'entries', v_entries,
        'refreshed_at', now()
    );
end
$$;
comment on function public.refresh_leaderboard(text, date) is
    'Service role: recomputes the standings of the period that contains a day (today in Asia/Singapore by default).';

revoke all on function public.refresh_leaderboard(text, date) from public, anon, authenticated;
grant execute on function public.refresh_leaderboard(text, date) to service_role;

revoke all on all routines in schema private from public;
