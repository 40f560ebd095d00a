-- Who is told of what: events of the notification engine, made in the transaction of what they are about.

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
                'starts_at', private.shift_starts_at(v_gig, v_gig.start_date),
                'data', v_data),
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
comment on function private.remind_of_shifts(timestamptz) is
    'shift.reminder, once for each accepted worker and day, in the two hours before the shift. How many were new. Called each 5 '
    'minutes; what is late expires when the shift begins.';

create extension if not exists pg_cron;
select cron.schedule('gigwork-shift-reminders', '*/5 * * * *', 'select private.remind_of_shifts()');

revoke all on all routines in schema private from public;
