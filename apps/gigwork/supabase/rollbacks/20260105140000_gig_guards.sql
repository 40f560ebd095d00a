-- Undoes 20260105140000_gig_guards.sql.
drop trigger gigs_check_new on public.gigs;
drop function private.check_new_gig();

create or replace function private.check_gig_change()
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
    if old.filled_count > 0 and new.status = old.status then
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
    return new;
end
$$;
