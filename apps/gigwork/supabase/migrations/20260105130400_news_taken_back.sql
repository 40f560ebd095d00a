-- Nobody is told of what is over: news that waits (for a worker, for the end of quiet hours, for a digest) is taken back with
-- what it was about.

create function private.take_back(p_application_id uuid, p_event_types text[])
returns void
language sql
security definer
set search_path = ''
as $$
    with told (event_type, dedup_key) as (
        values
            ('application.new', 'application-' || p_application_id),
            ('application.accepted', 'accepted-' || p_application_id),
            ('application.rejected', 'rejected-' || p_application_id),
            -- The reminders of other days have expired, or are not made yet.
            ('shift.reminder', 'shift-' || p_application_id || '-' || private.singapore_day(now())),
            ('shift.reminder', 'shift-' || p_application_id || '-' || (private.singapore_day(now()) + 1))
    )
    select count(public.cancel_notification(told.event_type, told.dedup_key))
    from told
    where told.event_type = any (p_event_types)
$$;
comment on function private.take_back(uuid, text[]) is 'Nobody is told any more of these events of an application.';

create function private.take_back_news_of_gig()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_application_id uuid;
begin
    perform public.cancel_notification('gig.new', 'gig-' || new.id);
    if new.status in ('completed', 'cancelled') then
        -- Locked: remind_of_shifts may be about to write a reminder, which then is seen here.
        for v_application_id in
            select a.id from public.gig_applications as a where a.gig_id = new.id order by a.id for no key update
        loop
            perform private.take_back(
                v_application_id,
                array['application.new', 'application.accepted', 'shift.reminder']
                    || case when new.status = 'cancelled' then array['application.rejected'] end);
        end loop;
    end if;
    return null;
end
$$;
comment on function private.take_back_news_of_gig() is
    'After a gig was closed: it is no news any more. After it was completed or cancelled: nobody is reminded of it either, and who '
    'was accepted or turned away by a gig that is cancelled does not hear of that.';

create trigger gigs_take_back_news
after update of status on public.gigs
for each row when (new.status in ('closed', 'completed', 'cancelled') and old.status is distinct from new.status)
execute function private.take_back_news_of_gig();

create function private.take_back_news_of_application()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.take_back(new.id, array['application.new', 'application.accepted', 'shift.reminder']);
    return null;
end
$$;
comment on function private.take_back_news_of_application() is
    'After an application was withdrawn: neither its employer nor its worker hears of it.';

create trigger gig_applications_take_back_news
after update of status on public.gig_applications
for each row when (new.status = 'withdrawn' and old.status is distinct from new.status)
execute function private.take_back_news_of_application();

revoke all on all routines in schema private from public;
