-- Undoes 20260105110100_progress.sql. Time zones, days of shifts and the history of levels are lost; levels follow the formula again.
alter publication supabase_realtime drop table public.level_ups;

create function private.extend_streak(p_user_id uuid, p_day date)
returns void
language sql
security definer
set search_path = ''
as $$
    update public.users
    set current_streak = case when last_worked_on = p_day - 1 then current_streak + 1 else 1 end,
        longest_streak = greatest(
            longest_streak, case when last_worked_on = p_day - 1 then current_streak + 1 else 1 end),
        last_worked_on = p_day
    where id = p_user_id and (last_worked_on is null or last_worked_on < p_day)
$$;
comment on function private.extend_streak(uuid, date) is
    'A completed shift on the day after the last one makes the streak longer, on the same day leaves it, later starts at 1.';

create or replace function public.clock_out(p_timesheet_id uuid, p_lat double precision, p_lng double precision)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_user_id constant uuid := private.require_user();
    v_here constant extensions.geography := private.point_at(p_lat, p_lng);
    v_now constant timestamptz := clock_timestamp();
    v_timesheet public.timesheets;
    v_hours numeric;
    v_amount numeric;
    v_points int;
    v_receipt jsonb;
begin
    select * into v_timesheet
    from public.timesheets
    where id = p_timesheet_id and user_id = v_user_id
    for update;
    if not found then
        perform private.fail(
            'TIMESHEET_NOT_FOUND', 404, 'You have no such timesheet', jsonb_build_object('timesheet_id', p_timesheet_id));
    end if;
    if v_timesheet.clock_out is not null then
        if v_timesheet.receipt is null then  -- completed by the service role, not here
            perform private.fail('ALREADY_CLOCKED_OUT', 409, 'This timesheet is complete');
        end if;
        return v_timesheet.receipt;
    end if;
    perform private.check_at_gig(g.location, v_here) from public.gigs as g where g.id = v_timesheet.gig_id;

    v_hours := round(extract(epoch from v_now - v_timesheet.clock_in) / 3600, 4);
    v_amount := round(v_hours * v_timesheet.hourly_rate, 2);
    update public.timesheets
    set clock_out = v_now,
        clock_out_location = v_here,
        total_hours_worked = v_hours,
        total_amount = v_amount
    where id = p_timesheet_id;

    perform private.extend_streak(v_user_id, private.singapore_day(v_timesheet.clock_in));
    v_points := private.award_points(
        v_user_id, case when v_hours >= 8 then 70 else 50 end, 'completed_shift', p_timesheet_id);
    v_receipt := jsonb_build_object(
        'success', true,
        'timesheet_id', p_timesheet_id,
        'clock_in', v_timesheet.clock_in,
        'clock_out', v_now,
        'hours_worked', v_hours,
        'amount_earned', v_amount,
        'points_earned', v_points,
        'new_achievements', private.unlock_achievements(v_user_id)
    );
    update public.timesheets set receipt = v_receipt where id = p_timesheet_id;
    return v_receipt;
end
$$;
comment on function public.clock_out(uuid, double precision, double precision) is
    'Completes the caller''s timesheet: {success, timesheet_id, clock_in, clock_out, hours_worked, amount_earned, '
    'points_earned, new_achievements}. 50 points, 70 from 8 hours. Repeating it changes nothing and answers the same. '
    'TIMESHEET_NOT_FOUND (404), INVALID_LOCATION (400).';

drop function private.reward_shift(uuid);

drop function private.user_stats(uuid);
create function private.user_stats(
    p_user_id uuid,
    out applications int,
    out gigs_completed int,
    out shifts_completed int,
    out total_hours_worked numeric,
    out total_earned numeric,
    out attendance_rate numeric
)
language sql
stable
security definer
set search_path = ''
as $$
    with worked as (
        select
            count(distinct t.gig_id)::int as gigs,
            count(*)::int as shifts,
            coalesce(sum(t.total_hours_worked), 0) as hours,
            coalesce(sum(t.total_amount), 0) as earned
        from public.timesheets as t
        where t.user_id = p_user_id and t.clock_out is not null
    ),
    due as (  -- accepted places whose gig has ended, or was already worked at
        select exists (
            select from public.timesheets as t
            where t.user_id = a.user_id and t.gig_id = a.gig_id and t.clock_out is not null
        ) as kept
        from public.gig_applications as a
        join public.gigs as g on g.id = a.gig_id
        where a.user_id = p_user_id
            and a.status = 'accepted'
            and g.status <> 'cancelled'
            and (
                g.end_date < private.singapore_day(now())
                or exists (
                    select from public.timesheets as t
                    where t.user_id = a.user_id and t.gig_id = a.gig_id and t.clock_out is not null
                )
            )
    )
    select
        (select count(*)::int from public.gig_applications as a where a.user_id = p_user_id),
        worked.gigs,
        worked.shifts,
        worked.hours,
        worked.earned,
        (select round(100.0 * count(*) filter (where due.kept) / nullif(count(*), 0), 2) from due)
    from worked
$$;
comment on function private.user_stats(uuid) is
    'What achievements are judged by. attendance_rate: per cent of accepted gigs, ended or worked at, with a completed shift; '
    'null before the first.';

create or replace function public.get_user_stats(p_user_id uuid default null)
returns json
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    v_user_id constant uuid := private.require_self_or_operator(p_user_id);
    v_stats json;
begin
    select json_build_object(
        'user_id', u.id,
        'total_points', u.total_points,
        'level', u.level,
        'applications', s.applications,
        'gigs_completed', s.gigs_completed,
        'shifts_completed', s.shifts_completed,
        'total_hours_worked', s.total_hours_worked,
        'total_earned', s.total_earned,
        'attendance_rate', s.attendance_rate,
        'streak_days', case
            when u.last_worked_on >= private.singapore_day(now()) - 1 then u.current_streak
            else 0
        end,
        'longest_streak', u.longest_streak,
        'achievements_unlocked', (select count(*) from public.user_achievements as ua where ua.user_id = u.id)
    ) into v_stats
    from public.users as u
    cross join private.user_stats(u.id) as s
    where u.id = v_user_id;
    if v_stats is null then
        perform private.fail('USER_NOT_FOUND', 404, 'There is no such user', jsonb_build_object('user_id', v_user_id));
    end if;
    return v_stats;
end
$$;
comment on function public.get_user_stats(uuid) is
    'Points, level, gigs, hours, earnings, attendance and streaks: of the caller, or of anybody for the service role.';

drop trigger levels_apply on public.levels;
drop function private.apply_levels();
drop trigger levels_hold_awards on public.levels;
drop function private.hold_awards();
drop trigger users_log_level_up on public.users;
drop function private.log_level_up();
drop trigger users_set_level on public.users;
drop function private.set_level();
drop function private.level_for(int);
alter table public.users drop column level;
alter table public.users add column level int not null generated always as (1 + floor(sqrt(total_points / 100.0))::int) stored;
comment on column public.users.level is 'Level n begins at 100 × (n - 1)² points: 0, 100, 400, 900, …';
drop table public.level_ups, public.levels;

drop function private.recompute_streak(uuid);
drop trigger timesheets_set_worked_on on public.timesheets;
drop function private.set_worked_on();
alter table public.timesheets drop column worked_on;
comment on column public.timesheets.clock_out_location is 'Where the worker stood, within 100 m of the gig.';
drop function private.day_of(uuid, timestamptz);
alter table public.users drop column time_zone;
comment on column public.users.last_worked_on is 'The Asia/Singapore day on which the last completed shift began.';
drop function private.is_time_zone(text);

revoke all on all routines in schema private from public;
