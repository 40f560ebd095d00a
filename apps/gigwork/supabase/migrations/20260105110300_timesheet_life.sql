-- The life of a timesheet: open, submitted by the clock-out, approved by the employer or disputed, paid by a payout. Corrections
-- keep to what is possible: nobody is at two shifts at once. What one earns, such as a streak whose gap it fills, is unlocked by it.

alter table public.timesheets
    add column status text not null default 'open',
    add column closed_by text,
    add column submitted_at timestamptz,
    add column approved_at timestamptz,
    add column paid_at timestamptz,
    add column status_reason text;
update public.timesheets
set status = 'submitted', closed_by = 'worker', submitted_at = clock_out
where clock_out is not null;
alter table public.timesheets
    drop constraint timesheets_complete_or_open,
    add constraint timesheets_complete_or_open
        check (num_nonnulls(clock_out, total_hours_worked, total_amount, closed_by) in (0, 4)),
    add constraint timesheets_workers_stand_somewhere
        check ((clock_out_location is not null) = (closed_by is not distinct from 'worker')),
    add constraint timesheets_closed_by_check check (closed_by in ('worker', 'employer', 'system')),
    add constraint timesheets_status_check check (status in ('open', 'submitted', 'disputed', 'approved', 'paid')),
    add constraint timesheets_open_has_no_end check ((status = 'open') = (clock_out is null)),
    add constraint timesheets_approved_when check ((status in ('approved', 'paid')) = (approved_at is not null)),
    add constraint timesheets_paid_when check ((status = 'paid') = (paid_at is not null)),
    add constraint timesheets_status_reason_check check (char_length(status_reason) between 1 and 1000);
comment on column public.timesheets.status is
    'open, submitted by the clock-out, then approved or disputed; a disputed one is corrected or approved; an approved one is '
    'paid by a payout and changes no more.';
comment on column public.timesheets.closed_by is
    'Who ended it: the worker by clock_out, the employer by correct_timesheet, the system when the clock-out was forgotten.';
comment on column public.timesheets.submitted_at is 'When it was ended or last corrected.';
comment on column public.timesheets.approved_at is 'When the employer accepted hours and pay.';
comment on column public.timesheets.paid_at is 'When it went into a payout.';
comment on column public.timesheets.status_reason is 'Why it was last disputed, corrected or closed by the system.';

create index timesheets_gig_id_status_idx on public.timesheets (gig_id, status);
drop index public.timesheets_gig_id_idx;
create index timesheets_open_clock_in_idx on public.timesheets (clock_in) where clock_out is null;
comment on index public.timesheets_gig_id_status_idx is 'An employer''s timesheets, and those that wait for a payout.';
comment on index public.timesheets_open_clock_in_idx is 'close_forgotten_shifts looks for old ones.';

create function private.keep_timesheet()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'UPDATE' and old.status in ('approved', 'paid') and (
        (new.clock_in, new.clock_out, new.hourly_rate, new.total_hours_worked, new.total_amount)
            is distinct from (old.clock_in, old.clock_out, old.hourly_rate, old.total_hours_worked, old.total_amount)
        or (old.status, new.status) not in (('approved', 'approved'), ('approved', 'paid'), ('paid', 'paid'))
    ) then
        perform private.fail('ALREADY_APPROVED', 409, 'This timesheet is settled', jsonb_build_object('status', old.status));
    end if;
    if new.clock_out is not null and new.status = 'open' then
        new.status := 'submitted';
    end if;
    if new.clock_out is not null then
        new.closed_by := coalesce(new.closed_by, 'worker');
        new.submitted_at := coalesce(new.submitted_at, now());
    end if;
    return new;
end
$$;
comment on function private.keep_timesheet() is
    'Before a timesheet is written: one that has an end is submitted, one that is approved stays as it is.';

create trigger timesheets_keep
before insert or update on public.timesheets
for each row execute function private.keep_timesheet();

-- What became of it: a row for each change, written by a trigger, changed by nobody.

create table public.timesheet_events (
    id bigint generated always as identity primary key,
    timesheet_id uuid not null references public.timesheets (id) on delete cascade,
    user_id uuid not null references public.users (id) on delete cascade,
    employer_id uuid references public.users (id) on delete set null,
    actor text not null check (actor in ('worker', 'employer', 'system')),
    status text not null,
    reason text,
    before jsonb,
    after jsonb not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table public.timesheet_events is 'The history of each timesheet, append only: who changed what, when and why.';
comment on column public.timesheet_events.timesheet_id is 'The shift.';
comment on column public.timesheet_events.employer_id is 'The employer of the gig at that time.';
comment on column public.timesheet_events.actor is 'worker, employer, or system for schedules and the service role.';
comment on column public.timesheet_events.status is 'The status that it had afterwards.';
comment on column public.timesheet_events.reason is 'As given by the actor.';
comment on column public.timesheet_events.before is 'status, clock_in, clock_out, hours and amount before; null at the clock-in.';
comment on column public.timesheet_events.after is 'The same afterwards.';
comment on column public.timesheet_events.updated_at is 'Equal to created_at: the history is append only.';

create index timesheet_events_timesheet_id_idx on public.timesheet_events (timesheet_id, id);
create index timesheet_events_user_id_idx on public.timesheet_events (user_id);
create index timesheet_events_employer_id_idx on public.timesheet_events (employer_id);

create function private.timesheet_facts(p_timesheet public.timesheets)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select jsonb_build_object(
        'status', (p_timesheet).status,
        'clock_in', (p_timesheet).clock_in,
        'clock_out', (p_timesheet).clock_out,
        'hours_worked', (p_timesheet).total_hours_worked,
        'amount', (p_timesheet).total_amount)
$$;
comment on function private.timesheet_facts(public.timesheets) is 'What the history compares.';

create function private.log_timesheet()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_caller constant uuid := (select auth.uid());
begin
    insert into public.timesheet_events (timesheet_id, user_id, employer_id, actor, status, reason, before, after)
    select
        new.id, new.user_id, g.employer_id,
        case
            when private.is_operator() then 'system'
            when v_caller = new.user_id then 'worker'
            when v_caller = g.employer_id then 'employer'
            else 'system'
        end,
        new.status,
        case when tg_op = 'UPDATE' and new.status_reason is distinct from old.status_reason then new.status_reason end,
        case when tg_op = 'UPDATE' then private.timesheet_facts(old) end,
        private.timesheet_facts(new)
    from public.gigs as g
    where g.id = new.gig_id;
    return null;
end
$$;
comment on function private.log_timesheet() is 'After a timesheet was made or changed: its row of timesheet_events.';

create trigger timesheets_log_insert
after insert on public.timesheets
for each row execute function private.log_timesheet();

create trigger timesheets_log_update
after update on public.timesheets
for each row when (
    (old.status, old.clock_in, old.clock_out, old.hourly_rate, old.total_amount, old.status_reason)
        is distinct from (new.status, new.clock_in, new.clock_out, new.hourly_rate, new.total_amount, new.status_reason)
)
execute function private.log_timesheet();

create function private.refuse_event_change()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'DELETE' and not exists (select from public.timesheets where id = old.timesheet_id) then
        return old;  -- with the timesheet of an account that was deleted
    end if;
    if tg_op = 'UPDATE' and new.employer_id is null
        and to_jsonb(new) - 'employer_id' = to_jsonb(old) - 'employer_id'
        and not exists (select from public.users where id = old.employer_id) then
        return new;
    end if;
    raise exception 'timesheet_events is append only' using errcode = 'integrity_constraint_violation';
end
$$;
comment on function private.refuse_event_change() is
    'Before update, delete or truncate of timesheet_events, whoever asks; a deleted account takes its part along.';

create trigger timesheet_events_append_only
before update or delete on public.timesheet_events
for each row execute function private.refuse_event_change();

create trigger timesheet_events_no_truncate
before truncate on public.timesheet_events
for each statement execute function private.refuse_event_change();

alter table public.timesheet_events enable row level security;

create policy "workers and employers view the history of their timesheets"
on public.timesheet_events for select to authenticated
using (user_id = (select auth.uid()) or employer_id = (select auth.uid()));

revoke all on public.timesheet_events from anon, authenticated, service_role;
grant select on public.timesheet_events to authenticated, service_role;

-- What the two sides do

create function private.locked_timesheet(p_timesheet_id uuid, p_user_id uuid, p_also_worker boolean)
returns public.timesheets
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_timesheet public.timesheets;
begin
    select t.* into v_timesheet
    from public.timesheets as t
    join public.gigs as g on g.id = t.gig_id
    where t.id = p_timesheet_id and (g.employer_id = p_user_id or (p_also_worker and t.user_id = p_user_id))
    for update of t;
    if not found then
        perform private.fail(
            'TIMESHEET_NOT_FOUND', 404, 'There is no such timesheet of yours', jsonb_build_object('timesheet_id', p_timesheet_id));
    end if;
    return v_timesheet;
end
$$;
comment on function private.locked_timesheet(uuid, uuid, boolean) is
    'The timesheet of one of the user''s gigs, or of the worker, locked; TIMESHEET_NOT_FOUND (404).';

create function private.timesheet_answer(p_timesheet_id uuid)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select json_build_object(
        'timesheet_id', t.id, 'status', t.status, 'clock_in', t.clock_in, 'clock_out', t.clock_out,
        'hours_worked', t.total_hours_worked, 'amount', t.total_amount)
    from public.timesheets as t
    where t.id = p_timesheet_id
$$;
comment on function private.timesheet_answer(uuid) is 'What the routines of this migration answer.';

create function public.approve_timesheet(p_timesheet_id uuid)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_timesheet constant public.timesheets := private.locked_timesheet(p_timesheet_id, private.require_user(), false);
begin
    if v_timesheet.status = 'open' then
        perform private.fail('SHIFT_IN_PROGRESS', 409, 'This shift has no end yet');
    end if;
    if v_timesheet.status in ('submitted', 'disputed') then
        update public.timesheets set status = 'approved', approved_at = now() where id = p_timesheet_id;
        if v_timesheet.closed_by <> 'worker' then
            perform private.reward_shift(p_timesheet_id);
        end if;
    end if;
    return private.timesheet_answer(p_timesheet_id);
end
$$;
comment on function public.approve_timesheet(uuid) is
    'The employer accepts hours and pay; repeating it changes nothing. A shift that the worker did not end themselves earns '
    'its points now. TIMESHEET_NOT_FOUND (404), SHIFT_IN_PROGRESS (409).';

create function private.check_reason(p_reason text)
returns text
language plpgsql
immutable
set search_path = ''
as $$
begin
    if coalesce(char_length(trim(p_reason)), 0) not between 1 and 1000 then
        perform private.fail('VALIDATION_ERROR', 400, 'Say why, in up to 1,000 characters');
    end if;
    return trim(p_reason);
end
$$;
comment on function private.check_reason(text) is 'The reason without blanks around it; VALIDATION_ERROR (400) without one.';

create function public.dispute_timesheet(p_timesheet_id uuid, p_reason text)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_reason constant text := private.check_reason(p_reason);
    v_timesheet constant public.timesheets := private.locked_timesheet(p_timesheet_id, private.require_user(), true);
begin
    if v_timesheet.status = 'open' then
        perform private.fail('SHIFT_IN_PROGRESS', 409, 'This shift has no end yet');
    end if;
    update public.timesheets set status = 'disputed', status_reason = v_reason where id = p_timesheet_id;
    return private.timesheet_answer(p_timesheet_id);
end
$$;
comment on function public.dispute_timesheet(uuid, text) is
    'Employer or worker does not agree, and says why. TIMESHEET_NOT_FOUND (404), SHIFT_IN_PROGRESS, ALREADY_APPROVED (409).';

create function public.correct_timesheet(
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

-- Forgotten clock-outs

create function private.close_forgotten_shifts(p_now timestamptz default now())
returns int
language sql
security definer
set search_path = ''
as $$
    with scheduled as (
        select
            t.id, t.clock_in,
            -- The next shift_end after the clock-in, and how long the shift was to be.
            ends.today + case when ends.today > t.clock_in then interval '0' else interval '1 day' end as ends_at,
            case
                when g.shift_end > g.shift_start then g.shift_end - g.shift_start
                else g.shift_end - g.shift_start + interval '1 day'
            end as length
        from public.timesheets as t
        join public.gigs as g on g.id = t.gig_id
        cross join lateral (
            select (private.singapore_day(t.clock_in) + g.shift_end) at time zone 'Asia/Singapore' as today
        ) as ends
        where t.clock_out is null and t.clock_in < p_now - interval '4 hours'
    ),
    forgotten as (
        select t.id, least(s.ends_at, s.clock_in + s.length) as ended_at
        from scheduled as s
        join public.timesheets as t on t.id = s.id
        where s.ends_at + interval '4 hours' <= p_now
        for update of t skip locked  -- who clocks out this very moment has not forgotten it
    ),
    closed as (
        update public.timesheets as t
        set clock_out = f.ended_at,
            total_hours_worked = round(extract(epoch from f.ended_at - t.clock_in) / 3600, 4),
            total_amount = round(round(extract(epoch from f.ended_at - t.clock_in) / 3600, 4) * t.hourly_rate, 2),
            closed_by = 'system',
            status_reason = 'Forgotten clock-out: closed at the end of the shift'
        from forgotten as f
        where t.id = f.id and t.clock_out is null
        returning t.id
    )
    select count(*)::int from closed
$$;
comment on function private.close_forgotten_shifts(timestamptz) is
    'Four hours after a shift was to end, an open timesheet is closed at that end, with at most the length of the shift. It earns '
    'points when the employer approves it. The schedule close-forgotten-shifts calls it.';

create extension if not exists pg_cron;
select cron.schedule(
    'close-forgotten-shifts', '*/10 * * * *', 'select private.close_forgotten_shifts()', timezone => 'Asia/Singapore');

revoke all on function public.approve_timesheet(uuid) from public, anon;
revoke all on function public.dispute_timesheet(uuid, text) from public, anon;
revoke all on function public.correct_timesheet(uuid, text, timestamptz, timestamptz) from public, anon;
grant execute on function public.approve_timesheet(uuid) to authenticated, service_role;
grant execute on function public.dispute_timesheet(uuid, text) to authenticated, service_role;
grant execute on function public.correct_timesheet(uuid, text, timestamptz, timestamptz) to authenticated, service_role;

revoke all on all routines in schema private from public;
