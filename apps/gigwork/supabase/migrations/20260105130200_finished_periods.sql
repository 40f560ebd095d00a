-- The standings of a day, week or month that is over hold its last hour.

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

revoke all on all routines in schema private from public;
