-- A worker is told of a shift by their own clock, that of users.time_zone.

comment on column public.users.time_zone is
    'IANA name, such as Asia/Kuala_Lumpur. Streaks count days there, and shifts are told by its clock; leaderboards are Singapore''s.';

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
                'data', v_data) || private.shift_times(new.user_id, private.shift_starts_at(v_gig, v_gig.start_date)),
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

with texts (event_type, locale, subject, body) as (
    values
        ('application.accepted', 'en', 'You are accepted', '{{ gig }}: you start on DAY at TIME'),
        ('application.accepted', 'ms', 'Anda diterima', '{{ gig }}: anda mula pada DAY jam TIME'),
        ('shift.reminder', 'en', 'Your shift starts soon',
            '{{ gig }} at TIME{% if address is defined and address %}, {{ address }}{% endif %}'),
        ('shift.reminder', 'ms', 'Syif anda bermula sebentar lagi',
            '{{ gig }} jam TIME{% if address is defined and address %}, {{ address }}{% endif %}')
),
written as (  -- events from before have the instant alone
    select
        event_type, locale, subject,
        replace(
            replace(body, 'DAY', '{{ starts_day|default(starts_at|date("%d.%m.%Y", "Asia/Singapore")) }}'),
            'TIME', '{{ starts_time|default(starts_at|date("%H:%M", "Asia/Singapore")) }}') as body
    from texts
)
select count(public.save_notification_template(
    w.event_type, c.channel, case when c.channel = 'sms' then w.subject || ': ' || w.body else w.body end,
    subject => case when c.channel <> 'sms' then w.subject end,
    locale => w.locale,
    metadata_schema => '{"type": "object", "required": ["gig", "starts_at"], "properties": {
        "gig": {"type": "string"}, "starts_at": {"type": "string"}, "starts_day": {"type": "string"},
        "starts_time": {"type": "string"}}}'))
from written as w
cross join unnest(array['in_app', 'push', 'sms']) as c(channel);

revoke all on all routines in schema private from public;
