-- Who is told of what: events of the notification engine, made in the transaction of what they are about. A worker is told of a
-- shift by their own clock, that of users.time_zone. Nobody is told of what is over.

create function private.tell(
    p_event text,
    p_key text,
    p_context jsonb,
    p_user_id uuid default null,
    p_audience jsonb default null,
    p_actor_id uuid default null,
    p_expires_at timestamptz default null,
    p_priority int default 5
)
returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform public.issue_notification(
        p_event, subject_id => p_user_id, audience => p_audience, context => p_context, actor_id => p_actor_id,
        expires_at => p_expires_at, priority => p_priority, dedup_key => p_key);
exception
    -- The queue is full, the texts are switched off, the account is gone: what people do goes on.
    when sqlstate 'PT429' or sqlstate 'PT404' then
        raise warning 'nobody was told of % %: %', p_event, p_key, sqlerrm;
end
$$;
comment on function private.tell(text, text, jsonb, uuid, jsonb, uuid, timestamptz, int) is
    'Issues an event, once for each key. What stands in its way stops nothing else.';

create function private.is_a_request()
returns boolean
language sql
stable
set search_path = ''
as $$
    select coalesce(current_setting('request.jwt.claims', true), '') <> ''
$$;
comment on function private.is_a_request() is
    'Whether somebody did it through the API. Seeds and repairs by the owner are nobody''s news.';

create function private.applicant_name(p_full_name text)
returns text
language sql
immutable
set search_path = ''
as $$
    select coalesce(nullif(trim(p_full_name), ''), 'A worker')
$$;
comment on function private.applicant_name(text) is 'How an employer is told of an applicant.';

create function private.shift_starts_at(p_gig public.gigs, p_day date)
returns timestamptz
language sql
immutable
set search_path = ''
as $$
    select (p_day + p_gig.shift_start) at time zone 'Asia/Singapore'
$$;
comment on function private.shift_starts_at(public.gigs, date) is 'When the shift of that day begins; Malaysia has the same time.';

create function private.shift_times(p_user_id uuid, p_starts_at timestamptz)
returns jsonb
language sql
stable
security definer
set search_path = ''
as $$
    select jsonb_build_object(
        'starts_at', p_starts_at,
        'starts_day', to_char(p_starts_at at time zone u.time_zone, 'DD.MM.YYYY'),
        'starts_time', to_char(p_starts_at at time zone u.time_zone, 'HH24:MI'))
    from public.users as u
    where u.id = p_user_id
$$;
comment on function private.shift_times(uuid, timestamptz) is
    'What texts say of the beginning of a shift: the instant, and its day and time where the user lives.';

create function private.tell_of_gig()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.status <> 'open' or new.published_at is null or not private.is_a_request() then
        return null;
    end if;
    if tg_op = 'UPDATE' and old.status = 'open' and old.published_at is not null then
        return null;
    end if;
    perform private.tell(
        'gig.new', 'gig-' || new.id,
        jsonb_build_object(
            'title', new.title, 'currency', new.currency, 'hourly_rate', new.hourly_rate::text,
            'starts_on', to_char(new.start_date, 'DD.MM.YYYY'), 'city', new.city,
            'data', jsonb_build_object('gig_id', new.id)),
        p_audience => jsonb_build_object(
            'routine', 'private.workers_near_gig', 'arguments', jsonb_build_object('gig_id', new.id)),
        p_priority => 7);
    return null;
end
$$;
comment on function private.tell_of_gig() is 'gig.new, to workers_near_gig, the first time that a gig is listed.';

create trigger gigs_tell
after insert or update of status, published_at on public.gigs
for each row execute function private.tell_of_gig();

create function private.tell_of_application()
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
                'data', v_data) || private.shift_times(new.user_id, private.shift_starts_at(v_gig, v_gig.start_date)),
            p_user_id => new.user_id, p_actor_id => v_gig.employer_id, p_priority => 3);
    end if;
    return null;
end
$$;
comment on function private.tell_of_application() is
    'application.new to the employer; application.accepted and application.rejected to the worker.';

create trigger gig_applications_tell
after insert on public.gig_applications
for each row execute function private.tell_of_application();

create trigger gig_applications_tell_decision
after update of status on public.gig_applications
for each row when (old.status is distinct from new.status)
execute function private.tell_of_application();

create function private.tell_of_achievement()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if private.is_a_request() then
        perform private.tell(
            'achievement.unlocked', 'achievement-' || new.id,
            jsonb_build_object(
                'name', a.name, 'icon', a.icon, 'points', a.points_reward,
                'data', jsonb_build_object('achievement_id', a.id)),
            p_user_id => new.user_id)
        from public.achievements as a
        where a.id = new.achievement_id;
    end if;
    return null;
end
$$;
comment on function private.tell_of_achievement() is 'achievement.unlocked.';

create trigger user_achievements_tell
after insert on public.user_achievements
for each row execute function private.tell_of_achievement();

create function private.tell_of_payout()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.user_id is not null then
        perform private.tell(
            'payout.made', 'payout-' || new.id,
            jsonb_build_object(
                'currency', new.currency, 'amount', new.amount::text, 'hours', round(new.hours_worked, 2)::text,
                'data', jsonb_build_object('payout_id', new.id, 'timesheet_id', new.timesheet_id)),
            p_user_id => new.user_id, p_actor_id => new.employer_id);
    end if;
    return null;
end
$$;
comment on function private.tell_of_payout() is 'payout.made, to who is paid.';

create trigger payouts_tell
after insert on public.payouts
for each row execute function private.tell_of_payout();

create function private.remind_of_shifts(p_now timestamptz default now())
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
        -- What is being changed at this moment is looked at again in 5 minutes; what is changed next waits, and takes the
        -- reminder back.
        for share of a skip locked
    loop
        perform private.tell(
            'shift.reminder', 'shift-' || v_shift.id || '-' || v_shift.day,
            jsonb_build_object(
                'gig', v_shift.title, 'address', v_shift.address,
                'data', jsonb_build_object('gig_id', v_shift.gig_id, 'application_id', v_shift.id)
            ) || private.shift_times(v_shift.user_id, v_shift.starts_at),
            p_user_id => v_shift.user_id, p_actor_id => v_shift.employer_id,
            p_expires_at => case when v_shift.starts_at > now() then v_shift.starts_at end, p_priority => 1);
        v_count := v_count + 1;
    end loop;
    return v_count;
end
$$;
comment on function private.remind_of_shifts(timestamptz) is
    'shift.reminder, once for each accepted worker and day, in the two hours before the shift. How many were new. Called each 5 '
    'minutes; what is late expires when the shift begins.';

create extension if not exists pg_cron;
select cron.schedule('gigwork-shift-reminders', '*/5 * * * *', 'select private.remind_of_shifts()');

-- News that waits (for a worker, for the end of quiet hours, for a digest) is taken back with what it was about.

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
