-- Achievements, the statistics they are judged by, and clock_out, which unlocks them.

create table public.achievements (
    id uuid primary key default gen_random_uuid(),
    code text not null unique check (code ~ '^[a-z][a-z0-9_]{0,49}$'),
    name text not null,
    description text not null default '',
    icon text,
    criteria_type text not null
        check (criteria_type in ('gigs_completed', 'hours_worked', 'perfect_attendance', 'streak_days')),
    criteria_value int not null check (criteria_value > 0),
    points_reward int not null default 0 check (points_reward >= 0),
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table public.achievements is 'What can be unlocked. Inactive ones are neither listed nor unlocked.';
comment on column public.achievements.code is 'Its name for programs.';
comment on column public.achievements.name is 'Its name for people.';
comment on column public.achievements.description is 'What to do for it.';
comment on column public.achievements.icon is 'An emoji.';
comment on column public.achievements.criteria_type is 'Which figure of the worker decides.';
comment on column public.achievements.points_reward is 'Points given once, when it is unlocked.';
comment on column public.achievements.is_active is 'Whether it is listed and can be unlocked.';
comment on column public.achievements.criteria_value is
    'Gigs completed; hours worked; gigs completed with full attendance; longest run of consecutive days.';

create table public.user_achievements (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users (id) on delete cascade,
    achievement_id uuid not null references public.achievements (id) on delete restrict,
    unlocked_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint user_achievements_once unique (user_id, achievement_id)
);
comment on table public.user_achievements is 'Who unlocked what. Achievements are not lost again.';
comment on column public.user_achievements.unlocked_at is 'When the criterion was first seen fulfilled.';

create index user_achievements_achievement_id_idx on public.user_achievements (achievement_id);

create trigger achievements_touch_updated_at
before update on public.achievements
for each row execute function private.touch_updated_at();

create trigger user_achievements_touch_updated_at
before update on public.user_achievements
for each row execute function private.touch_updated_at();

alter table public.achievements enable row level security;
alter table public.user_achievements enable row level security;

create policy "anyone views active achievements"
on public.achievements for select to anon, authenticated
using (is_active);

create policy "users view their own achievements"
on public.user_achievements for select to authenticated
using ((select auth.uid()) = user_id);

revoke all on public.achievements, public.user_achievements from anon, authenticated, service_role;
grant select on public.achievements to anon, authenticated;
grant select, insert, update, delete on public.achievements to service_role;
grant select on public.user_achievements to authenticated, service_role;

insert into public.achievements (code, name, description, icon, criteria_type, criteria_value, points_reward)
values
    ('first_shift', 'First shift', 'Complete your first gig', '🌱', 'gigs_completed', 1, 25),
    ('ten_gigs', 'Regular', 'Complete 10 gigs', '🔟', 'gigs_completed', 10, 100),
    ('fifty_gigs', 'Veteran', 'Complete 50 gigs', '🏅', 'gigs_completed', 50, 500),
    ('forty_hours', 'Full week', 'Work 40 hours', '⏱️', 'hours_worked', 40, 100),
    ('two_hundred_hours', 'Marathon', 'Work 200 hours', '🏃', 'hours_worked', 200, 400),
    ('always_there', 'Always there', 'Complete 5 gigs and miss none', '🎯', 'perfect_attendance', 5, 150),
    ('three_day_streak', 'Warm', 'Work 3 days in a row', '🔥', 'streak_days', 3, 50),
    ('seven_day_streak', 'On fire', 'Work 7 days in a row', '🔥', 'streak_days', 7, 150);

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

create function public.get_user_stats(p_user_id uuid default null)
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

create function private.unlock_achievements(p_user_id uuid)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_unlocked jsonb;
begin
    -- One evaluation per user at a time, so that each unlock is answered to exactly one caller. "No key": the foreign
    -- keys of a simultaneous application need not wait, and so cannot wait in a circle.
    perform from public.users where id = p_user_id for no key update;
    with stats as (
        select s.gigs_completed, s.total_hours_worked, s.attendance_rate, u.longest_streak
        from private.user_stats(p_user_id) as s
        join public.users as u on u.id = p_user_id
    ),
    earned as (
        insert into public.user_achievements (user_id, achievement_id)
        select p_user_id, a.id
        from public.achievements as a
        cross join stats as s
        where a.is_active
            and case a.criteria_type
                when 'gigs_completed' then s.gigs_completed >= a.criteria_value
                when 'hours_worked' then s.total_hours_worked >= a.criteria_value
                when 'perfect_attendance' then s.attendance_rate = 100 and s.gigs_completed >= a.criteria_value
                when 'streak_days' then s.longest_streak >= a.criteria_value
            end
        on conflict on constraint user_achievements_once do nothing
        returning achievement_id
    )
    select coalesce(
        jsonb_agg(
            jsonb_build_object(
                'id', a.id,
                'code', a.code,
                'name', a.name,
                'description', a.description,
                'icon', a.icon,
                'criteria_type', a.criteria_type,
                'criteria_value', a.criteria_value,
                'points_reward', a.points_reward
            )
            order by a.criteria_type, a.criteria_value, a.code
        ),
        '[]'::jsonb
    ) into v_unlocked
    from earned
    join public.achievements as a on a.id = earned.achievement_id;
    perform private.award_points(p_user_id, (unlocked ->> 'points_reward')::int, 'achievement_unlock', (unlocked ->> 'id')::uuid)
    from jsonb_array_elements(v_unlocked) as unlocked
    where (unlocked ->> 'points_reward')::int > 0;
    return v_unlocked;
end
$$;
comment on function private.unlock_achievements(uuid) is
    'Unlocks what the user has newly earned, awards the bonus points, answers the achievements as an array.';

create function public.check_achievements(p_user_id uuid default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_user_id constant uuid := private.require_self_or_operator(p_user_id);
begin
    if not exists (select from public.users where id = v_user_id) then
        perform private.fail('USER_NOT_FOUND', 404, 'There is no such user', jsonb_build_object('user_id', v_user_id));
    end if;
    return private.unlock_achievements(v_user_id);
end
$$;
comment on function public.check_achievements(uuid) is
    'Unlocks and answers newly earned achievements: of the caller, or of anybody for the service role.';

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

create function public.clock_out(p_timesheet_id uuid, p_lat double precision, p_lng double precision)
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

revoke all on function public.get_user_stats(uuid) from public, anon;
revoke all on function public.check_achievements(uuid) from public, anon;
revoke all on function public.clock_out(uuid, double precision, double precision) from public, anon;
grant execute on function public.get_user_stats(uuid) to authenticated, service_role;
grant execute on function public.check_achievements(uuid) to authenticated, service_role;
grant execute on function public.clock_out(uuid, double precision, double precision) to authenticated, service_role;

revoke all on all routines in schema private from public;
