-- Undoes 20260105130300_own_clock.sql. Shifts are told in the time of Singapore again.
update public.notification_templates set is_active = false where body_template like '%starts_time|default(%';
create or replace function private.tell_of_application()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_gig public.gigs;
    v_data jsonb;
begin
    if not private.is_a_request() then
        return null;
    end if;
    select * into v_gig from public.gigs where id = new.gig_id;
    v_data := jsonb_build_object('gig_id', new.gig_id, 'application_id', new.id);
    if tg_op = 'INSERT' then
        if v_gig.employer_id is not null then
            perform private.tell(
                'application.new', 'application-' || new.id,
                jsonb_build_object(
                    'gig', v_gig.title,
                    'worker', (select private.applicant_name(u.full_name) from public.users as u where u.id = new.user_id),
                    'data', v_data),
                p_user_id => v_gig.employer_id, p_actor_id => new.user_id);
        end if;
    elsif new.status in ('accepted', 'rejected') then
        perform private.tell(
            'application.' || new.status, new.status || '-' || new.id,
            jsonb_build_object(
                'gig', v_gig.title,
                'starts_at', private.shift_starts_at(v_gig, v_gig.start_date),
                'data', v_data),
            p_user_id => new.user_id, p_actor_id => v_gig.employer_id, p_priority => 3);
    end if;
    return null;
end
$$;

create or replace function private.remind_of_shifts(p_now timestamptz default now())
returns int
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_shift record;
    v_count int := 0;
begin
    for v_shift in
        select
            a.id, a.user_id, g.id as gig_id, g.title, g.address, g.employer_id, d.day,
            private.shift_starts_at(g, d.day) as starts_at
        -- A shift of the next two hours is today's or, before midnight, tomorrow's.
        from (
            select private.singapore_day(p_now) as day
            union
            select private.singapore_day(p_now + interval '2 hours')
        ) as d
        join public.gigs as g on g.start_date <= d.day and g.end_date >= d.day
        join public.gig_applications as a on a.gig_id = g.id
        where g.status in ('open', 'closed')
            and a.status = 'accepted'
            and private.shift_starts_at(g, d.day) > p_now
            and private.shift_starts_at(g, d.day) <= p_now + interval '2 hours'
            and not exists (
                select from public.notification_events as e
                where e.event_type = 'shift.reminder' and e.dedup_key = 'shift-' || a.id || '-' || d.day)
    loop
        perform private.tell(
            'shift.reminder', 'shift-' || v_shift.id || '-' || v_shift.day,
            jsonb_build_object(
                'gig', v_shift.title, 'starts_at', v_shift.starts_at, 'address', v_shift.address,
                'data', jsonb_build_object('gig_id', v_shift.gig_id, 'application_id', v_shift.id)),
            p_user_id => v_shift.user_id, p_actor_id => v_shift.employer_id,
            p_expires_at => case when v_shift.starts_at > now() then v_shift.starts_at end, p_priority => 1);
        v_count := v_count + 1;
    end loop;
    return v_count;
end
$$;

drop function private.shift_times(uuid, timestamptz);
comment on column public.users.time_zone is 'IANA name, such as Asia/Kuala_Lumpur. Streaks count days there; leaderboards do not.';
