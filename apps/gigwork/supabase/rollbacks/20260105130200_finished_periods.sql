-- Undoes 20260105130200_finished_periods.sql. What was recomputed stays.
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

    if p_period_type = 'weekly' and v_period.period_start = date_trunc('week', v_today::timestamp)::date then
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
comment on function public.refresh_leaderboard(text, date) is
    'Service role: recomputes the standings of the period that contains a day (today in Asia/Singapore by default).';

drop function private.finish_period(text);
drop function private.refresh_period(text, date);
