-- Standings with a stable order among equals, and the running week as a materialized view that the API shows through a view. The
-- standings of a day, week or month that is over hold its last hour.

alter table public.leaderboard add column position int;
update public.leaderboard as l
set position = ordered.position
from (
    select
        period_type, period_start, user_id,
        row_number() over (partition by period_type, period_start order by rank, user_id)::int as position
    from public.leaderboard
) as ordered
where (l.period_type, l.period_start, l.user_id) = (ordered.period_type, ordered.period_start, ordered.user_id);
alter table public.leaderboard alter column position set not null;
alter table public.leaderboard add constraint leaderboard_position_check check (position >= rank);
comment on column public.leaderboard.position is
    'The place in the list: among equal points, who had them first, then by user. Two refreshes of the same points agree.';
drop index public.leaderboard_period_rank_idx;
create index leaderboard_period_position_idx on public.leaderboard (period_type, period_start, position);

drop materialized view public.weekly_leaderboard;
drop function private.standings(timestamptz, timestamptz);

create function private.standings(p_starts_at timestamptz, p_ends_at timestamptz)
returns table (
    user_id uuid,
    display_name text,
    points_earned int,
    gigs_completed int,
    hours_worked numeric,
    rank int,
    "position" int
)
language sql
stable
security definer
set search_path = ''
as $$
    with earned as (
        select p.user_id, sum(p.points)::int as points, max(p.created_at) as reached_at
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
        rank() over (order by e.points desc)::int,
        row_number() over (order by e.points desc, e.reached_at, e.user_id)::int
    from earned as e
    join public.users as u on u.id = e.user_id
    left join worked as w on w.user_id = e.user_id
$$;
comment on function private.standings(timestamptz, timestamptz) is
    'Points from the log (so that applications, bonuses and corrections count), with gigs and hours of shifts that ended in the interval.';

create materialized view private.weekly_leaderboard as
select
    s.user_id,
    s.display_name,
    s.points_earned,
    s.gigs_completed,
    s.hours_worked,
    s.rank,
    s.position,
    week.period_start as week_start
from private.leaderboard_period('weekly', private.singapore_day(now())) as week
cross join private.standings(week.starts_at, week.ends_at) as s;
comment on materialized view private.weekly_leaderboard is
    'The running week as of the last refresh_leaderboard(''weekly''). Outside the API: it can have no policies.';

create unique index weekly_leaderboard_user_id_idx on private.weekly_leaderboard (user_id);
create unique index weekly_leaderboard_position_idx on private.weekly_leaderboard (position);

create view public.weekly_leaderboard with (security_invoker = true) as
select user_id, display_name, points_earned, gigs_completed, hours_worked, rank, position, week_start
from private.weekly_leaderboard;
comment on view public.weekly_leaderboard is
    'The running week as of the last refresh_leaderboard(''weekly''), for signed-in users: a window on the materialized view.';
comment on column public.weekly_leaderboard.display_name is 'First name and initial.';
comment on column public.weekly_leaderboard.points_earned is 'Points logged this week.';
comment on column public.weekly_leaderboard.gigs_completed is 'Gigs with a shift that ended this week.';
comment on column public.weekly_leaderboard.hours_worked is 'Hours of shifts that ended this week.';
comment on column public.weekly_leaderboard.rank is 'Equal points share a rank.';
comment on column public.weekly_leaderboard.position is 'The place in the list; equal points in the order in which they were reached.';
comment on column public.weekly_leaderboard.week_start is 'Monday of the week of the last refresh.';

revoke all on private.weekly_leaderboard from public, anon, authenticated, service_role;
revoke all on public.weekly_leaderboard from anon, authenticated, service_role;
grant select on private.weekly_leaderboard to authenticated, service_role;
grant select on public.weekly_leaderboard to authenticated, service_role;

create function private.refresh_period(p_period_type text, p_day date)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_period record;
    v_entries int;
begin
    select * into v_period from private.leaderboard_period(p_period_type, p_day);
    -- Two refreshes of one period take turns; readers never wait.
    perform pg_advisory_xact_lock(hashtextextended('gigwork.leaderboard.' || p_period_type, 0));

    with standings as materialized (
        select * from private.standings(v_period.starts_at, v_period.ends_at)
    ),
    gone as (
        delete from public.leaderboard as l
        where l.period_type = p_period_type
            and l.period_start = v_period.period_start
            and not exists (select from standings as s where s.user_id = l.user_id)
    )
    insert into public.leaderboard as l
        (period_type, period_start, user_id, display_name, points_earned, gigs_completed, hours_worked, rank, position)
    select
        p_period_type, v_period.period_start, s.user_id, s.display_name, s.points_earned, s.gigs_completed,
        s.hours_worked, s.rank, s.position
    from standings as s
    on conflict (period_type, period_start, user_id) do update
    set display_name = excluded.display_name,
        points_earned = excluded.points_earned,
        gigs_completed = excluded.gigs_completed,
        hours_worked = excluded.hours_worked,
        rank = excluded.rank,
        position = excluded.position;
    get diagnostics v_entries = row_count;

    if p_period_type = 'weekly' and v_period.period_start = date_trunc('week', private.singapore_day(now())::timestamp)::date then
        refresh materialized view concurrently private.weekly_leaderboard;
    end if;
    return json_build_object(
        'period_type', p_period_type,
        'period_start', v_period.period_start,
        'entries', v_entries,
        'refreshed_at', now()
    );
end
$$;
comment on function private.refresh_period(text, date) is 'Recomputes the standings of the period that contains a day.';

create function private.finish_period(p_period_type text)
returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_before record;
begin
    select * into v_before
    from private.leaderboard_period(
        p_period_type,
        (select p.period_start from private.leaderboard_period(p_period_type, private.singapore_day(now())) as p) - 1);
    if not exists (
        select from public.leaderboard as l
        where l.period_type = p_period_type
            and l.period_start = v_before.period_start
            and l.updated_at >= v_before.ends_at
    ) then
        perform private.refresh_period(p_period_type, v_before.period_start);
    end if;
end
$$;
comment on function private.finish_period(text) is
    'Recomputes the period before the running one, unless that was done since it ended: its last hour was after the last refresh.';

create or replace function public.refresh_leaderboard(p_period_type text, p_period_start date default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
begin
    if p_period_type is null or p_period_type not in ('daily', 'weekly', 'monthly', 'all_time') then
        perform private.fail(
            'VALIDATION_ERROR', 400, 'A period is daily, weekly, monthly or all_time',
            jsonb_build_object('period_type', p_period_type));
    end if;
    if p_period_start is null and p_period_type <> 'all_time' then
        perform private.finish_period(p_period_type);
    end if;
    return private.refresh_period(p_period_type, coalesce(p_period_start, private.singapore_day(now())));
end
$$;
comment on function public.refresh_leaderboard(text, date) is
    'Service role: recomputes the standings of the period that contains a day. Without one: of the running period, and of the one '
    'before where its last hour is missing.';

create function public.get_leaderboard(p_period_type text default 'weekly', p_limit int default 100)
returns setof public.leaderboard
language plpgsql
stable
security invoker
set search_path = ''
as $$
begin
    if p_period_type is null or p_period_type not in ('daily', 'weekly', 'monthly', 'all_time') then
        perform private.fail(
            'VALIDATION_ERROR', 400, 'A period is daily, weekly, monthly or all_time',
            jsonb_build_object('period_type', p_period_type));
    end if;
    return query
    select l.*
    from public.leaderboard as l
    where l.period_type = p_period_type
        and l.period_start = (
            select p.period_start from private.leaderboard_period(p_period_type, private.singapore_day(now())) as p)
    order by l.position
    limit least(coalesce(p_limit, 100), 1000);
end
$$;
comment on function public.get_leaderboard(text, int) is
    'The running period, as of its last refresh, in order: a new day begins empty, not with yesterday''s standings.';

revoke all on function public.get_leaderboard(text, int) from public, anon;
grant execute on function public.get_leaderboard(text, int) to authenticated, service_role;

revoke all on all routines in schema private from public;
grant execute on function private.leaderboard_period(text, date) to authenticated, service_role;
grant execute on function private.singapore_day(timestamptz) to authenticated, service_role;
