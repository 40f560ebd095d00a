-- What other systems are told of: jobs made in the transaction of what they are about, so that neither exists without the
-- other, and performed by the worker, so that nobody waits for a provider.

create function private.track(p_user_id uuid, p_event text, p_properties jsonb, p_key text)
returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Only what people do: seeds and repairs by the owner are no events.
    if coalesce(current_setting('request.jwt.claims', true), '') = '' then
        return;
    end if;
    perform basalt.enqueue(
        'track-event',
        jsonb_build_object(
            'userId', p_user_id, 'event', p_event, 'properties', p_properties,
            'time', (extract(epoch from clock_timestamp()) * 1000)::bigint),
        queue => 'analytics',
        priority => 9,
        key => p_event || ':' || p_key);
exception
    when sqlstate 'PT429' then  -- nobody's shift waits for statistics
        raise warning 'event % was dropped: the queue of events is full', p_event;
end
$$;
comment on function private.track(uuid, text, jsonb, text) is
    'Enqueues an event for Mixpanel; a key tells the same event apart from a second one. Dropped when its queue is full.';

create function private.track_application()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'INSERT' then
        perform private.track(new.user_id, 'gig_applied', jsonb_build_object('gig_id', new.gig_id), new.id::text);
    else
        perform private.track(
            new.user_id, 'application_' || new.status, jsonb_build_object('gig_id', new.gig_id), new.id::text);
    end if;
    return null;
end
$$;
comment on function private.track_application() is 'gig_applied, then application_accepted, _rejected or _withdrawn.';

create trigger gig_applications_track
after insert on public.gig_applications
for each row execute function private.track_application();

create trigger gig_applications_track_decision
after update of status on public.gig_applications
for each row when (old.status is distinct from new.status)
execute function private.track_application();

create function private.track_shift()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'INSERT' then
        perform private.track(new.user_id, 'clocked_in', jsonb_build_object('gig_id', new.gig_id), new.id::text);
    else
        perform private.track(
            new.user_id, 'clocked_out',
            jsonb_build_object(
                'gig_id', new.gig_id, 'hours_worked', new.total_hours_worked, 'amount_earned', new.total_amount),
            new.id::text);
    end if;
    return null;
end
$$;
comment on function private.track_shift() is 'clocked_in and clocked_out.';

create trigger timesheets_track_clock_in
after insert on public.timesheets
for each row execute function private.track_shift();

create trigger timesheets_track_clock_out
after update of clock_out on public.timesheets
for each row when (old.clock_out is null and new.clock_out is not null)
execute function private.track_shift();

create function private.track_achievement()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.track(
        new.user_id, 'achievement_unlocked', jsonb_build_object('achievement_id', new.achievement_id), new.id::text);
    return null;
end
$$;
comment on function private.track_achievement() is 'achievement_unlocked.';

create trigger user_achievements_track
after insert on public.user_achievements
for each row execute function private.track_achievement();

revoke all on all routines in schema private from public;
