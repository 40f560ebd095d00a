-- Timesheets: clock in and out at the gig; hours and pay in numeric; points, streak and achievements in the same
-- transaction.

create table public.timesheets (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users (id) on delete cascade,
    gig_id uuid not null references public.gigs (id) on delete restrict,
    clock_in timestamptz not null default now(),
    clock_in_location extensions.geography(point, 4326) not null,
    clock_out timestamptz,
    clock_out_location extensions.geography(point, 4326),
    hourly_rate numeric(10, 2) not null check (hourly_rate >= 0),
    total_hours_worked numeric(10, 4),
    total_amount numeric(12, 2),
    receipt jsonb,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (clock_out >= clock_in),
    constraint timesheets_complete_or_open check (
        num_nonnulls(clock_out, clock_out_location, total_hours_worked, total_amount) in (0, 4)
    ),
    constraint timesheets_pay_is_hours_times_rate check (total_amount = round(total_hours_worked * hourly_rate, 2))
);
comment on table public.timesheets is 'A shift: open until clock_out is set; no client can change it otherwise.';
comment on column public.timesheets.clock_in is 'When the shift began.';
comment on column public.timesheets.clock_in_location is 'Where the worker stood, within 100 m of the gig.';
comment on column public.timesheets.clock_out is 'When it ended; null while it is open.';
comment on column public.timesheets.clock_out_location is 'Where the worker stood, within 100 m of the gig.';
comment on column public.timesheets.hourly_rate is 'The rate of the gig at clock-in; a later change of the gig does not touch it.';
comment on column public.timesheets.total_hours_worked is 'Hours to four decimals (0.36 s).';
comment on column public.timesheets.total_amount is 'round(total_hours_worked × hourly_rate, 2), in the currency of the gig.';
comment on column public.timesheets.receipt is 'What clock_out answered; a repeated call answers it again.';

create unique index timesheets_one_open_idx on public.timesheets (user_id) where clock_out is null;
create index timesheets_user_id_gig_id_idx on public.timesheets (user_id, gig_id);
create index timesheets_gig_id_idx on public.timesheets (gig_id);
create index timesheets_clock_out_idx on public.timesheets (clock_out);
comment on index public.timesheets_one_open_idx is 'Nobody works two shifts at once, whatever races.';
comment on index public.timesheets_clock_out_idx is 'Leaderboards sum a period.';

create trigger timesheets_touch_updated_at
before update on public.timesheets
for each row execute function private.touch_updated_at();

alter table public.timesheets enable row level security;

create policy "users view their own timesheets"
on public.timesheets for select to authenticated
using ((select auth.uid()) = user_id);

create policy "employers view timesheets of their gigs"
on public.timesheets for select to authenticated
using (gig_id in (select g.id from public.gigs as g where g.employer_id = (select auth.uid())));

revoke all on public.timesheets from anon, authenticated, service_role;
grant select on public.timesheets to authenticated;
grant select, insert, update, delete on public.timesheets to service_role;

create function private.check_at_gig(p_gig_location extensions.geography, p_here extensions.geography)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_distance_m double precision;
begin
    if not public.is_within_distance(p_here, p_gig_location, 100) then
        v_distance_m := ceil(extensions.st_distance(p_here, p_gig_location));
        perform private.fail(
            'INVALID_LOCATION', 400, 'You are ' || v_distance_m || ' m from the gig; 100 m is the limit',
            jsonb_build_object('distance_m', v_distance_m, 'limit_m', 100));
    end if;
end
$$;
comment on function private.check_at_gig(extensions.geography, extensions.geography) is
    'INVALID_LOCATION (400) more than 100 m from the gig, with the distance in the details.';

create function public.clock_in(p_gig_id uuid, p_lat double precision, p_lng double precision)
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

create function public.withdraw_application(p_application_id uuid)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_user_id constant uuid := private.require_user();
    v_application public.gig_applications;
begin
    perform from public.gigs as g
    where g.id = (select a.gig_id from public.gig_applications as a where a.id = p_application_id and a.user_id = v_user_id)
    for no key update;
    select * into v_application
    from public.gig_applications
    where id = p_application_id and user_id = v_user_id
    for no key update;
    if not found then
        perform private.fail(
            'APPLICATION_NOT_FOUND', 404, 'You have no such application',
            jsonb_build_object('application_id', p_application_id));
    end if;
    if v_application.status = 'rejected' then
        perform private.fail('ALREADY_DECIDED', 409, 'This application is rejected', jsonb_build_object('status', 'rejected'));
    end if;
    if exists (select from public.timesheets where user_id = v_user_id and gig_id = v_application.gig_id) then
        perform private.fail('ALREADY_STARTED', 409, 'You have already worked at this gig');
    end if;
    update public.gig_applications
    set status = 'withdrawn', decided_at = now()
    where id = p_application_id and status <> 'withdrawn';
    return json_build_object(
        'application_id', p_application_id, 'gig_id', v_application.gig_id, 'status', 'withdrawn');
end
$$;
comment on function public.withdraw_application(uuid) is
    'The worker takes an application back, before the first clock-in; an accepted one frees its place. '
    'APPLICATION_NOT_FOUND (404), ALREADY_DECIDED, ALREADY_STARTED (409).';

revoke all on function public.clock_in(uuid, double precision, double precision) from public, anon;
revoke all on function public.withdraw_application(uuid) from public, anon;
grant execute on function public.clock_in(uuid, double precision, double precision) to authenticated, service_role;
grant execute on function public.withdraw_application(uuid) to authenticated, service_role;

revoke all on all routines in schema private from public;
