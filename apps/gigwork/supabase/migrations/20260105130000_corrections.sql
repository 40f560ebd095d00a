-- Corrections that keep to what is possible: nobody is at two shifts at once, and no day moves because its worker did. What a
-- correction earns, such as a streak whose gap it fills, is unlocked by it.

create or replace function public.correct_timesheet(
    p_timesheet_id uuid,
    p_reason text,
    p_clock_in timestamptz default null,
    p_clock_out timestamptz default null
)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_reason constant text := private.check_reason(p_reason);
    v_timesheet constant public.timesheets := private.locked_timesheet(p_timesheet_id, private.require_user(), false);
    v_clock_in constant timestamptz := coalesce(p_clock_in, v_timesheet.clock_in);
    v_clock_out constant timestamptz := coalesce(p_clock_out, v_timesheet.clock_out);
    v_hours constant numeric := round(extract(epoch from v_clock_out - v_clock_in) / 3600, 4);
    v_other record;
    v_owed int;
begin
    if v_clock_out is null or v_clock_out < v_clock_in or v_clock_out > clock_timestamp() or v_hours > 24 then
        perform private.fail(
            'VALIDATION_ERROR', 400, 'A shift ends after it began, within 24 hours and not in the future',
            jsonb_build_object('clock_in', v_clock_in, 'clock_out', v_clock_out));
    end if;
    -- Corrections of one worker's shifts take turns, whoever makes them: each sees what the others did.
    perform from public.users where id = v_timesheet.user_id for no key update;
    select t.id, g.employer_id into v_other
    from public.timesheets as t
    join public.gigs as g on g.id = t.gig_id
    where t.user_id = v_timesheet.user_id
        and t.id <> p_timesheet_id
        and t.clock_in < v_clock_out
        and coalesce(t.clock_out, 'infinity') > v_clock_in
    order by t.clock_in
    limit 1;
    if found then
        perform private.fail(
            'SHIFTS_OVERLAP', 409, 'The worker was at another shift then',
            -- Which one, unless it is none of this employer's business.
            jsonb_build_object('timesheet_id', case when v_other.employer_id = (select auth.uid()) then v_other.id end));
    end if;
    update public.timesheets
    set clock_in = v_clock_in,
        clock_out = v_clock_out,
        total_hours_worked = v_hours,
        total_amount = round(v_hours * hourly_rate, 2),
        closed_by = coalesce(closed_by, 'employer'),
        status = 'submitted',
        status_reason = v_reason,
        submitted_at = now()
    where id = p_timesheet_id;
    -- Hours that were rewarded already: the bonus from 8 hours follows them, as far as the balance allows.
    select (case when v_hours >= 8 then 70 else 50 end) - sum(p.points) into v_owed
    from public.points_log as p
    where p.user_id = v_timesheet.user_id
        and (
            (p.reason = 'completed_shift' and p.source_id = p_timesheet_id)
            or (p.reason = 'shift_corrected' and p.source_id in (
                select md5(p_timesheet_id || ':' || e.id)::uuid
                from public.timesheet_events as e
                where e.timesheet_id = p_timesheet_id
            ))
        )
    having count(*) filter (where p.reason = 'completed_shift') > 0;
    if v_owed is not null then
        select greatest(v_owed, -u.total_points) into v_owed
        from public.users as u
        where u.id = v_timesheet.user_id
        for no key update;
        if v_owed <> 0 then
            perform private.award_points(v_timesheet.user_id, v_owed, 'shift_corrected', md5(p_timesheet_id || ':' || max(e.id))::uuid)
            from public.timesheet_events as e
            where e.timesheet_id = p_timesheet_id;
        end if;
        perform private.recompute_streak(v_timesheet.user_id);
        perform private.unlock_achievements(v_timesheet.user_id);
    end if;
    return private.timesheet_answer(p_timesheet_id);
end
$$;
comment on function public.correct_timesheet(uuid, text, timestamptz, timestamptz) is
    'The employer puts times right, or ends a forgotten shift, with a reason; the worker may dispute it. Hours, pay and the '
    'bonus points follow. TIMESHEET_NOT_FOUND (404), VALIDATION_ERROR (400), ALREADY_APPROVED, SHIFTS_OVERLAP (409).';

create or replace function private.set_worked_on()
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

revoke all on all routines in schema private from public;
