-- The employer's desk: the life of a gig, and what a gig with accepted workers promises them. A plain insert or update
-- through REST can do no more than publish_gig and its like: no gig begins where only its life leads, is one of the past, takes a
-- place at the head of the newest, or breaks a promise beside a change of status.

alter table public.gigs add column cancelled_reason text check (char_length(cancelled_reason) between 1 and 500);
comment on column public.gigs.cancelled_reason is 'What the employer told those who were to come; see cancel_gig.';

alter table public.gig_applications drop constraint gig_applications_status_check;
alter table public.gig_applications add constraint gig_applications_status_check
check (status in ('pending', 'accepted', 'rejected', 'withdrawn', 'cancelled'));
comment on column public.gig_applications.status is
    'pending, then accepted or rejected by the employer (decide_application), withdrawn by the worker, or cancelled with the gig.';

create function private.check_new_gig()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if private.is_operator() then
        return new;
    end if;
    if new.status not in ('draft', 'open') then
        perform private.fail(
            'INVALID_STATUS_CHANGE', 409, 'A new gig is draft or open', jsonb_build_object('from', null, 'to', new.status));
    end if;
    if new.status = 'open' and new.end_date < private.singapore_day(now()) then
        perform private.fail(
            'GIG_OVER', 409, 'The last day of this gig has passed', jsonb_build_object('end_date', new.end_date));
    end if;
    new.published_at := least(new.published_at, now());
    return new;
end
$$;
comment on function private.check_new_gig() is
    'Before an employer posts a gig: draft or open, not of the past, and published no later than now. INVALID_STATUS_CHANGE, '
    'GIG_OVER (409).';

create trigger gigs_check_new
before insert on public.gigs
for each row execute function private.check_new_gig();

create function private.check_gig_change()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_broken text[];
begin
    if private.is_operator() then
        return new;
    end if;
    if new.status <> old.status then
        if (old.status, new.status) not in (
            ('draft', 'open'), ('draft', 'cancelled'), ('open', 'closed'), ('open', 'completed'), ('open', 'cancelled'),
            ('closed', 'open'), ('closed', 'completed'), ('closed', 'cancelled')
        ) then
            perform private.fail(
                'INVALID_STATUS_CHANGE', 409, 'A gig that is ' || old.status || ' cannot become ' || new.status,
                jsonb_build_object('from', old.status, 'to', new.status));
        end if;
        if new.status = 'open' and new.end_date < private.singapore_day(now()) then
            perform private.fail(
                'GIG_OVER', 409, 'The last day of this gig has passed', jsonb_build_object('end_date', new.end_date));
        end if;
        -- Clock-ins hold the row of the gig, as this update does: none comes in between.
        if new.status in ('completed', 'cancelled')
            and exists (select from public.timesheets where gig_id = new.id and clock_out is null) then
            perform private.fail('SHIFT_IN_PROGRESS', 409, 'Somebody is at work: wait for the clock-out or correct it');
        end if;
        if new.status = 'cancelled' and exists (select from public.timesheets where gig_id = new.id) then
            perform private.fail('ALREADY_STARTED', 409, 'This gig was worked at: close or complete it');
        end if;
    end if;
    if old.filled_count > 0 then
        v_broken := array_remove(array[
            case when not extensions.geography_eq(new.location, old.location) then 'location' end,
            case when new.start_date <> old.start_date then 'start_date' end,
            case when new.end_date <> old.end_date then 'end_date' end,
            case when new.shift_start <> old.shift_start then 'shift_start' end,
            case when new.shift_end <> old.shift_end then 'shift_end' end,
            case when new.currency <> old.currency then 'currency' end,
            case when new.hourly_rate < old.hourly_rate then 'hourly_rate' end
        ], null);
        if cardinality(v_broken) > 0 then
            perform private.fail(
                'GIG_HAS_WORKERS', 409, 'Accepted workers were promised otherwise: cancel the gig and post another',
                jsonb_build_object('fields', v_broken, 'filled_count', old.filled_count));
        end if;
    end if;
    if new.published_at is distinct from old.published_at then
        new.published_at := least(new.published_at, now());
    end if;
    return new;
end
$$;
comment on function private.check_gig_change() is
    'Before an employer changes a gig: only the transitions of its life, and neither place, time nor less pay once somebody '
    'is accepted. INVALID_STATUS_CHANGE, GIG_OVER, SHIFT_IN_PROGRESS, ALREADY_STARTED, GIG_HAS_WORKERS (409).';

create trigger gigs_check_change
before update on public.gigs
for each row execute function private.check_gig_change();

create function private.settle_applications()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.gig_applications
    set status = case when new.status = 'cancelled' then 'cancelled' else 'rejected' end,
        decided_at = now()
    where gig_id = new.id
        and (status = 'pending' or (status = 'accepted' and new.status = 'cancelled'));
    return null;
end
$$;
comment on function private.settle_applications() is
    'After a gig is over: nobody waits for an answer, and who was to come to a cancelled one sees it in the application.';

create trigger gigs_settle_applications
after update of status on public.gigs
for each row when (new.status in ('completed', 'cancelled') and old.status is distinct from new.status)
execute function private.settle_applications();

create function private.keep_cancelled()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.fail('ALREADY_DECIDED', 409, 'This application is cancelled', jsonb_build_object('status', 'cancelled'));
    return null;
end
$$;
comment on function private.keep_cancelled() is 'Before an application to a cancelled gig becomes anything else.';

create trigger gig_applications_keep_cancelled
before update of status on public.gig_applications
for each row when (old.status = 'cancelled' and new.status <> 'cancelled')
execute function private.keep_cancelled();

create function private.move_gig(p_gig_id uuid, p_status text, p_reason text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_user_id constant uuid := private.require_user();
    v_gig public.gigs;
begin
    select * into v_gig from public.gigs where id = p_gig_id and employer_id = v_user_id for no key update;
    if not found then
        perform private.fail('GIG_NOT_FOUND', 404, 'You have no such gig', jsonb_build_object('gig_id', p_gig_id));
    end if;
    if v_gig.status <> p_status or (p_status = 'open' and v_gig.published_at is null) then
        update public.gigs
        set status = p_status,
            published_at = case when p_status = 'open' then coalesce(published_at, now()) else published_at end,
            cancelled_reason = p_reason
        where id = p_gig_id;
    end if;
    select * into v_gig from public.gigs where id = p_gig_id;
    return json_build_object(
        'gig_id', p_gig_id, 'status', v_gig.status, 'published_at', v_gig.published_at,
        'filled_count', v_gig.filled_count, 'capacity', v_gig.capacity);
end
$$;
comment on function private.move_gig(uuid, text, text) is 'One step in the life of the caller''s gig; repeating it changes nothing.';

create function public.publish_gig(p_gig_id uuid)
returns json
language sql
security definer
set search_path = ''
as $$ select private.move_gig(p_gig_id, 'open') where private.require_user() is not null $$;
comment on function public.publish_gig(uuid) is
    'The employer lists a draft, or opens a closed gig again. GIG_NOT_FOUND (404), INVALID_STATUS_CHANGE, GIG_OVER (409).';

create function public.close_gig(p_gig_id uuid)
returns json
language sql
security definer
set search_path = ''
as $$ select private.move_gig(p_gig_id, 'closed') where private.require_user() is not null $$;
comment on function public.close_gig(uuid) is
    'No more applications; who is accepted works. GIG_NOT_FOUND (404), INVALID_STATUS_CHANGE (409).';

create function public.complete_gig(p_gig_id uuid)
returns json
language sql
security definer
set search_path = ''
as $$ select private.move_gig(p_gig_id, 'completed') where private.require_user() is not null $$;
comment on function public.complete_gig(uuid) is
    'The work is done; who waits for an answer is rejected. GIG_NOT_FOUND (404), SHIFT_IN_PROGRESS, INVALID_STATUS_CHANGE (409).';

create function public.cancel_gig(p_gig_id uuid, p_reason text)
returns json
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.require_user();
    if coalesce(char_length(trim(p_reason)), 0) not between 1 and 500 then
        perform private.fail('VALIDATION_ERROR', 400, 'Say why, in up to 500 characters');
    end if;
    return private.move_gig(p_gig_id, 'cancelled', trim(p_reason));
end
$$;
comment on function public.cancel_gig(uuid, text) is
    'The gig does not take place; its applications become cancelled and count for nobody''s attendance. GIG_NOT_FOUND (404), '
    'SHIFT_IN_PROGRESS, ALREADY_STARTED, INVALID_STATUS_CHANGE (409).';

-- As before, but for the lock of the gig, which comes first: no gig is cancelled while somebody clocks in.
create or replace function public.clock_in(p_gig_id uuid, p_lat double precision, p_lng double precision)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_user_id constant uuid := private.require_user();
    v_here constant extensions.geography := private.point_at(p_lat, p_lng);
    v_gig public.gigs;
    v_open public.timesheets;
    v_timesheet public.timesheets;
begin
    select * into v_gig from public.gigs where id = p_gig_id for share;
    if not found or v_gig.status = 'draft' then
        perform private.fail('GIG_NOT_FOUND', 404, 'There is no such gig', jsonb_build_object('gig_id', p_gig_id));
    end if;
    -- Before "accepted", because a cancelled gig has no accepted applications any more.
    if v_gig.status not in ('open', 'closed') and exists (
        select from public.gig_applications
        where user_id = v_user_id and gig_id = p_gig_id and status in ('accepted', 'cancelled')
    ) then
        perform private.fail('GIG_CLOSED', 409, 'This gig is ' || v_gig.status, jsonb_build_object('status', v_gig.status));
    end if;
    -- Shared: a withdrawal waits until this clock-in is decided, and the other way round.
    perform from public.gig_applications
    where user_id = v_user_id and gig_id = p_gig_id and status = 'accepted'
    for share;
    if not found then
        perform private.fail(
            'NOT_ACCEPTED', 403, 'You have no accepted application to this gig', jsonb_build_object('gig_id', p_gig_id));
    end if;
    select * into v_open from public.timesheets where user_id = v_user_id and clock_out is null;
    if found then
        perform private.fail(
            'ALREADY_CLOCKED_IN', 409, 'Clock out of your open shift first',
            jsonb_build_object('timesheet_id', v_open.id, 'gig_id', v_open.gig_id));
    end if;
    perform private.check_at_gig(v_gig.location, v_here);
    insert into public.timesheets (user_id, gig_id, clock_in_location, hourly_rate)
    values (v_user_id, p_gig_id, v_here, v_gig.hourly_rate)
    returning * into v_timesheet;
    return json_build_object(
        'success', true,
        'timesheet_id', v_timesheet.id,
        'gig_id', p_gig_id,
        'clock_in', v_timesheet.clock_in,
        'hourly_rate', v_timesheet.hourly_rate
    );
exception
    when unique_violation then  -- a concurrent call of the same user was first
        perform private.fail('ALREADY_CLOCKED_IN', 409, 'Clock out of your open shift first');
end
$$;

revoke all on function public.publish_gig(uuid) from public, anon;
revoke all on function public.close_gig(uuid) from public, anon;
revoke all on function public.complete_gig(uuid) from public, anon;
revoke all on function public.cancel_gig(uuid, text) from public, anon;
grant execute on function public.publish_gig(uuid) to authenticated, service_role;
grant execute on function public.close_gig(uuid) to authenticated, service_role;
grant execute on function public.complete_gig(uuid) to authenticated, service_role;
grant execute on function public.cancel_gig(uuid, text) to authenticated, service_role;

revoke all on all routines in schema private from public;
