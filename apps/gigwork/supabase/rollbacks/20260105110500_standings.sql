-- Undoes 20260105110500_standings.sql. Standings keep their ranks, without an order among equals.
drop function public.get_leaderboard(text, int);
revoke execute on function private.leaderboard_period(text, date) from authenticated, service_role;
revoke execute on function private.singapore_day(timestamptz) from authenticated, service_role;
drop view public.weekly_leaderboard;
drop materialized view private.weekly_leaderboard;
drop function private.standings(timestamptz, timestamptz);

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

create or replace function public.refresh_leaderboard(p_period_type text, p_period_start date default null)
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

drop function private.finish_period(text);
drop function private.refresh_period(text, date);

drop index public.leaderboard_period_position_idx;
create index leaderboard_period_rank_idx on public.leaderboard (period_type, period_start, rank);
alter table public.leaderboard drop column position;

revoke all on all routines in schema private from public;
