-- Progress: streaks by days of the worker's own time zone (no day moves because its worker did), levels by a table of thresholds
-- (new ones apply to awards that happen at the same moment, too), attendance as numbers.

create function private.is_time_zone(p_name text)
returns boolean
language plpgsql
immutable
set search_path = ''
as $$
begin
    if p_name !~ '^[A-Za-z_]+(/[A-Za-z0-9_+-]+)*$' then
        return false;
    end if;
    perform timestamptz '2026-01-01 00:00+00' at time zone p_name;
    return true;
exception
    when invalid_parameter_value then
        return false;
end
$$;
comment on function private.is_time_zone(text) is 'Whether PostgreSQL knows a zone by this name.';

alter table public.users add column time_zone text not null default 'Asia/Singapore';
alter table public.users add constraint users_time_zone_is_known check (private.is_time_zone(time_zone));
comment on column public.users.time_zone is
    'IANA name, such as Asia/Kuala_Lumpur. Streaks count days there, and shifts are told by its clock; leaderboards are Singapore''s.';
comment on column public.users.last_worked_on is 'The last worked_on of a shift that counts, in the worker''s time zone.';
grant update (time_zone) on public.users to authenticated, service_role;

create function private.day_of(p_user_id uuid, p_at timestamptz)
returns date
language sql
stable
security definer
set search_path = ''
as $$
    select (p_at at time zone u.time_zone)::date from public.users as u where u.id = p_user_id
$$;
comment on function private.day_of(uuid, timestamptz) is 'The calendar day of an instant where the user lives.';

alter table public.timesheets add column worked_on date;
comment on column public.timesheets.worked_on is
    'The day on which the shift began, in the worker''s time zone as it was then: moving house changes no streak.';
comment on column public.timesheets.clock_out_location is
    'Where the worker stood, within 100 m of the gig; null when somebody else closed the shift.';
update public.timesheets set worked_on = private.day_of(user_id, clock_in);
alter table public.timesheets alter column worked_on set not null;

create index timesheets_user_id_worked_on_idx on public.timesheets (user_id, worked_on) where clock_out is not null;
comment on index public.timesheets_user_id_worked_on_idx is 'Streaks look for gaps between these days.';

create function private.set_worked_on()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'INSERT' then
        new.worked_on := private.day_of(new.user_id, new.clock_in);
    else
        new.worked_on := old.worked_on
            + (private.day_of(new.user_id, new.clock_in) - private.day_of(new.user_id, old.clock_in));
    end if;
    return new;
end
$$;
comment on function private.set_worked_on() is
    'Before a clock-in: its day. Before it is corrected: the day moves by as many days as the clock-in, so that who has moved house '
    'keeps the days of before.';

create trigger timesheets_set_worked_on
before insert or update of clock_in on public.timesheets
for each row execute function private.set_worked_on();

create function private.recompute_streak(p_user_id uuid)
returns void
language sql
security definer
set search_path = ''
as $$
    with days as (
        select distinct t.worked_on as day
        from public.timesheets as t
        where t.user_id = p_user_id
            and t.clock_out is not null
            and exists (
                select from public.points_log as p
                where p.user_id = p_user_id and p.reason = 'completed_shift' and p.source_id = t.id
            )
    ),
    runs as (  -- consecutive days less their number are one and the same day
        select max(numbered.day) as last_day, count(*)::int as length
        from (select d.day, d.day - (row_number() over (order by d.day))::int as run from days as d) as numbered
        group by numbered.run
    ),
    latest as (
        select r.last_day, r.length, (select max(length) from runs) as longest
        from runs as r
        order by r.last_day desc
        limit 1
    )
    update public.users as u
    set current_streak = latest.length,
        longest_streak = greatest(u.longest_streak, latest.longest),
        last_worked_on = latest.last_day
    from latest
    where u.id = p_user_id
$$;
comment on function private.recompute_streak(uuid) is
    'Runs of consecutive days with a rewarded shift: two shifts on a day are one, a day without ends a run, a shift that is '
    'rewarded late fills its gap. The longest run is never lost.';

-- Levels

create table public.levels (
    level int primary key check (level > 0),
    min_points int not null unique check (min_points >= 0),
    title text not null check (char_length(title) between 1 and 50),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint levels_begin_at_zero check (level > 1 or min_points = 0)
);
comment on table public.levels is 'From how many points on a user has a level.';
comment on column public.levels.level is 'Its number; users have the highest one that their points reach.';
comment on column public.levels.min_points is 'The balance at which it begins; level 1 begins at 0.';
comment on column public.levels.title is 'Its name for people.';

insert into public.levels (level, min_points, title)
select
    n, 100 * (n - 1) * (n - 1),
    case when n < 5 then 'Newcomer' when n < 10 then 'Regular' when n < 15 then 'Skilled' when n < 20 then 'Expert' else 'Master' end
from generate_series(1, 100) as n;

create table public.level_ups (
    user_id uuid not null references public.users (id) on delete cascade,
    level int not null,
    points int not null,
    reached_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (user_id, level)
);
comment on table public.level_ups is 'The first time that a user reached a level: once, however the balance moves afterwards.';
comment on column public.level_ups.level is 'The level that was reached.';
comment on column public.level_ups.points is 'The balance at that moment.';
comment on column public.level_ups.reached_at is 'When.';

create trigger levels_touch_updated_at
before update on public.levels
for each row execute function private.touch_updated_at();

create trigger level_ups_touch_updated_at
before update on public.level_ups
for each row execute function private.touch_updated_at();

alter table public.levels enable row level security;
alter table public.level_ups enable row level security;

create policy "anyone views levels"
on public.levels for select to anon, authenticated
using (true);

create policy "users view their own level-ups"
on public.level_ups for select to authenticated
using ((select auth.uid()) = user_id);

revoke all on public.levels, public.level_ups from anon, authenticated, service_role;
grant select on public.levels to anon, authenticated;
grant select, insert, update, delete on public.levels to service_role;
grant select on public.level_ups to authenticated, service_role;

create function private.level_for(p_points int)
returns int
language sql
stable
security definer
set search_path = ''
as $$
    select coalesce((select max(l.level) from public.levels as l where l.min_points <= p_points), 1)
$$;
comment on function private.level_for(int) is 'The level of a balance.';

alter table public.users alter column level drop expression;
alter table public.users alter column level set default 1;
comment on column public.users.level is 'The highest of levels that total_points reaches; kept by triggers.';

create function private.set_level()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    new.level := private.level_for(new.total_points);
    return new;
end
$$;
comment on function private.set_level() is 'Before a balance changes: the level follows.';

create trigger users_set_level
before update of total_points on public.users
for each row execute function private.set_level();

create function private.log_level_up()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into public.level_ups (user_id, level, points)
    values (new.id, new.level, new.total_points)
    on conflict (user_id, level) do nothing;
    if found then
        perform private.track(
            new.id, 'level_up', jsonb_build_object('level', new.level, 'points', new.total_points),
            new.id || ':' || new.level);
    end if;
    return null;
end
$$;
comment on function private.log_level_up() is 'After a level rose: the row of level_ups and the event level_up, once per level.';

create trigger users_log_level_up
after update on public.users
for each row when (new.level > old.level)
execute function private.log_level_up();

create function private.hold_awards()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    lock table public.users in exclusive mode;
    return null;
end
$$;
comment on function private.hold_awards() is
    'Before the thresholds change: awards wait until they are committed. One that read the old ones, and was committed after '
    'levels_apply had looked, would leave a level that nobody puts right. Reading profiles waits for nothing.';

create trigger levels_hold_awards
before insert or update or delete on public.levels
for each statement execute function private.hold_awards();

create function private.apply_levels()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.users set level = private.level_for(total_points) where level <> private.level_for(total_points);
    return null;
end
$$;
comment on function private.apply_levels() is 'After the thresholds changed: everybody has the level that their points reach now.';

create trigger levels_apply
after insert or update or delete on public.levels
for each statement execute function private.apply_levels();

alter publication supabase_realtime add table public.level_ups;

-- Attendance, and the routines that know of all this

drop function private.user_stats(uuid);
create function private.user_stats(
    p_user_id uuid,
    out applications int,
    out gigs_completed int,
    out shifts_completed int,
    out total_hours_worked numeric,
    out total_earned numeric,
    out shifts_kept int,
    out shifts_missed int,
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
    accepted as (
        select
            g.end_date < private.singapore_day(now()) as is_over,
            exists (
                select from public.timesheets as t
                where t.user_id = a.user_id and t.gig_id = a.gig_id and t.clock_out is not null
            ) as is_kept,
            exists (
                select from public.timesheets as t
                where t.user_id = a.user_id and t.gig_id = a.gig_id and t.clock_out is null
            ) as is_running
        from public.gig_applications as a
        join public.gigs as g on g.id = a.gig_id
        where a.user_id = p_user_id and a.status = 'accepted' and g.status <> 'cancelled'
    ),
    attended as (
        select
            (count(*) filter (where is_kept))::int as kept,
            (count(*) filter (where is_over and not is_kept and not is_running))::int as missed
        from accepted
    )
    select
        (select count(*)::int from public.gig_applications as a where a.user_id = p_user_id),
        worked.gigs,
        worked.shifts,
        worked.hours,
        worked.earned,
        attended.kept,
        attended.missed,
        round(100.0 * attended.kept / nullif(attended.kept + attended.missed, 0), 2)
    from worked
    cross join attended
$$;
comment on function private.user_stats(uuid) is
    'What achievements are judged by. Kept: accepted places with a completed shift. Missed: accepted places whose gig is over '
    'without one. attendance_rate: kept per cent of both; null before the first.';

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
        'level_title', (select l.title from public.levels as l where l.level = u.level),
        'next_level_at', (select min(l.min_points) from public.levels as l where l.min_points > u.total_points),
        'applications', s.applications,
        'gigs_completed', s.gigs_completed,
        'shifts_completed', s.shifts_completed,
        'total_hours_worked', s.total_hours_worked,
        'total_earned', s.total_earned,
        'shifts_kept', s.shifts_kept,
        'shifts_missed', s.shifts_missed,
        'attendance_rate', s.attendance_rate,
        'streak_days', case
            when u.last_worked_on >= private.day_of(u.id, now()) - 1 then u.current_streak
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
    'Points, level, gigs, hours, earnings, shifts kept and missed, streaks: of the caller, or of anybody for the service role.';

create function private.reward_shift(p_timesheet_id uuid, out points int, out achievements jsonb)
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_shift public.timesheets;
begin
    select * into v_shift from public.timesheets where id = p_timesheet_id;
    points := private.award_points(
        v_shift.user_id, case when v_shift.total_hours_worked >= 8 then 70 else 50 end, 'completed_shift', p_timesheet_id);
    perform private.recompute_streak(v_shift.user_id);
    achievements := private.unlock_achievements(v_shift.user_id);
end
$$;
comment on function private.reward_shift(uuid) is
    'What a completed shift earns, once: 50 points, 70 from 8 hours; the streak; achievements.';

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
    v_reward record;
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
        if v_timesheet.receipt is null then  -- closed by somebody else, not here
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

    select * into v_reward from private.reward_shift(p_timesheet_id);
    v_receipt := jsonb_build_object(
        'success', true,
        'timesheet_id', p_timesheet_id,
        'clock_in', v_timesheet.clock_in,
        'clock_out', v_now,
        'hours_worked', v_hours,
        'amount_earned', v_amount,
        'points_earned', v_reward.points,
        'new_achievements', v_reward.achievements
    );
    update public.timesheets set receipt = v_receipt where id = p_timesheet_id;
    return v_receipt;
end
$$;

drop function private.extend_streak(uuid, date);

revoke all on all routines in schema private from public;
grant execute on function private.is_time_zone(text) to authenticated, service_role;
