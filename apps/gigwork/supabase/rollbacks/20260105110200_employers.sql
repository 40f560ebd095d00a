-- Undoes 20260105110200_employers.sql. Reasons are lost; applications to cancelled gigs become rejected.
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
    select * into v_gig from public.gigs where id = p_gig_id;
    if not found or v_gig.status = 'draft' then
        perform private.fail('GIG_NOT_FOUND', 404, 'There is no such gig', jsonb_build_object('gig_id', p_gig_id));
    end if;
    -- Shared: a withdrawal waits until this clock-in is decided, and the other way round.
    perform from public.gig_applications
    where user_id = v_user_id and gig_id = p_gig_id and status = 'accepted'
    for share;
    if not found then
        perform private.fail(
            'NOT_ACCEPTED', 403, 'You have no accepted application to this gig', jsonb_build_object('gig_id', p_gig_id));
    end if;
    if v_gig.status not in ('open', 'closed') then
        perform private.fail('GIG_CLOSED', 409, 'This gig is ' || v_gig.status, jsonb_build_object('status', v_gig.status));
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
comment on function public.clock_in(uuid, double precision, double precision) is
    'Opens the caller''s timesheet at a gig: {success, timesheet_id, gig_id, clock_in, hourly_rate}. GIG_NOT_FOUND (404), '
    'NOT_ACCEPTED (403), GIG_CLOSED, ALREADY_CLOCKED_IN (409), INVALID_LOCATION (400).';

drop function public.cancel_gig(uuid, text);
drop function public.complete_gig(uuid);
drop function public.close_gig(uuid);
drop function public.publish_gig(uuid);
drop function private.move_gig(uuid, text, text);
drop trigger gig_applications_keep_cancelled on public.gig_applications;
drop function private.keep_cancelled();
drop trigger gigs_settle_applications on public.gigs;
drop function private.settle_applications();
drop trigger gigs_check_change on public.gigs;
drop function private.check_gig_change();
drop trigger gigs_check_new on public.gigs;
drop function private.check_new_gig();
update public.gig_applications set status = 'rejected' where status = 'cancelled';
alter table public.gig_applications drop constraint gig_applications_status_check;
alter table public.gig_applications add constraint gig_applications_status_check
check (status in ('pending', 'accepted', 'rejected', 'withdrawn'));
comment on column public.gig_applications.status is
    'pending, then accepted or rejected by the employer (decide_application) or withdrawn by the worker.';
alter table public.gigs drop column cancelled_reason;
