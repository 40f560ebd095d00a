-- What people are told, in English and Malay; of a shift by the worker's own clock. `data` of an event goes to the app, which opens
-- the right page by it.

with schemas (event_type, required, properties) as (
    values
        ('gig.new', '["title", "currency", "hourly_rate", "starts_on"]'::jsonb,
            '{"title": {"type": "string"}, "currency": {"type": "string"}, "hourly_rate": {"type": "string"}, "starts_on": {"type": "string"}}'::jsonb),
        ('application.new', '["gig", "worker"]', '{"gig": {"type": "string"}, "worker": {"type": "string"}}'),
        ('application.accepted', '["gig", "starts_at"]',
            '{"gig": {"type": "string"}, "starts_at": {"type": "string"}, "starts_day": {"type": "string"}, "starts_time": {"type": "string"}}'),
        ('application.rejected', '["gig"]', '{"gig": {"type": "string"}}'),
        ('shift.reminder', '["gig", "starts_at"]',
            '{"gig": {"type": "string"}, "starts_at": {"type": "string"}, "starts_day": {"type": "string"}, "starts_time": {"type": "string"}}'),
        ('achievement.unlocked', '["name", "points"]', '{"name": {"type": "string"}, "points": {"type": "integer"}}'),
        ('payout.made', '["currency", "amount"]', '{"currency": {"type": "string"}, "amount": {"type": "string"}}'),
        ('message', '["title", "body"]', '{"title": {"type": "string"}, "body": {"type": "string"}}'),
        ('message.text', '["title", "body"]', '{"title": {"type": "string"}, "body": {"type": "string"}}')
),
texts (event_type, channels, locale, subject, body) as (
    values
        ('gig.new', array['in_app', 'push'], 'en', 'New gig near you',
            '{{ title }}, {{ currency }} {{ hourly_rate }} an hour, from {{ starts_on }}'),
        ('gig.new', array['in_app', 'push'], 'ms', 'Kerja baharu berdekatan anda',
            '{{ title }}, {{ currency }} {{ hourly_rate }} sejam, mulai {{ starts_on }}'),
        ('application.new', array['in_app', 'push'], 'en', 'New application', '{{ worker }} applied to {{ gig }}'),
        ('application.new', array['in_app', 'push'], 'ms', 'Permohonan baharu', '{{ worker }} memohon untuk {{ gig }}'),
        ('application.accepted', array['in_app', 'push', 'sms'], 'en', 'You are accepted', '{{ gig }}: you start on DAY at TIME'),
        ('application.accepted', array['in_app', 'push', 'sms'], 'ms', 'Anda diterima', '{{ gig }}: anda mula pada DAY jam TIME'),
        ('application.rejected', array['in_app', 'push'], 'en', 'Not this time', '{{ gig }} went to somebody else'),
        ('application.rejected', array['in_app', 'push'], 'ms', 'Bukan kali ini', '{{ gig }} diberikan kepada orang lain'),
        ('shift.reminder', array['in_app', 'push', 'sms'], 'en', 'Your shift starts soon',
            '{{ gig }} at TIME{% if address is defined and address %}, {{ address }}{% endif %}'),
        ('shift.reminder', array['in_app', 'push', 'sms'], 'ms', 'Syif anda bermula sebentar lagi',
            '{{ gig }} jam TIME{% if address is defined and address %}, {{ address }}{% endif %}'),
        ('achievement.unlocked', array['in_app', 'push'], 'en', 'Achievement unlocked',
            '{{ icon|default("★", true) }} {{ name }}{% if points %}: {{ points }} points{% endif %}'),
        ('achievement.unlocked', array['in_app', 'push'], 'ms', 'Pencapaian dibuka',
            '{{ icon|default("★", true) }} {{ name }}{% if points %}: {{ points }} mata{% endif %}'),
        ('payout.made', array['in_app', 'push'], 'en', 'Your pay is on its way', '{{ currency }} {{ amount }} for your shift'),
        ('payout.made', array['in_app', 'push'], 'ms', 'Gaji anda dalam perjalanan', '{{ currency }} {{ amount }} untuk syif anda'),
        ('message', array['in_app', 'push'], 'en', '{{ title }}', '{{ body }}'),
        ('message.text', array['in_app', 'push'], 'en', '{{ title }}', '{{ body }}')
),
mails (event_type, locale, subject, body, html) as (
    values
        ('application.new', 'en', '{{ worker }} applied to {{ gig }}',
            'Hello {{ recipient.name|default("there", true) }}, {{ worker }} applied to {{ gig }}. Decide in the app.',
            '<p>Hello {{ recipient.name|default("there", true) }},</p><p><b>{{ worker }}</b> applied to <b>{{ gig }}</b>. Decide in the app.</p>'),
        ('application.new', 'ms', '{{ worker }} memohon untuk {{ gig }}',
            'Salam {{ recipient.name|default("sejahtera", true) }}, {{ worker }} memohon untuk {{ gig }}. Buat keputusan dalam aplikasi.',
            '<p>Salam {{ recipient.name|default("sejahtera", true) }},</p><p><b>{{ worker }}</b> memohon untuk <b>{{ gig }}</b>. Buat keputusan dalam aplikasi.</p>'),
        ('payout.made', 'en', 'Your pay is on its way', '{{ currency }} {{ amount }} for your shift of {{ hours }} hours is on its way.',
            '<p><b>{{ currency }} {{ amount }}</b> for your shift of {{ hours }} hours is on its way.</p>'),
        ('payout.made', 'ms', 'Gaji anda dalam perjalanan', '{{ currency }} {{ amount }} untuk syif {{ hours }} jam sedang dihantar.',
            '<p><b>{{ currency }} {{ amount }}</b> untuk syif {{ hours }} jam sedang dihantar.</p>')
),
written as (  -- an event that has the instant alone is told in the time of Singapore
    select
        event_type, channels, locale, subject,
        replace(
            replace(body, 'DAY', '{{ starts_day|default(starts_at|date("%d.%m.%Y", "Asia/Singapore")) }}'),
            'TIME', '{{ starts_time|default(starts_at|date("%H:%M", "Asia/Singapore")) }}') as body
    from texts
),
wanted as (
    select t.event_type, c.channel, t.locale, case when c.channel <> 'sms' then t.subject end as subject,
        case when c.channel = 'sms' then t.subject || ': ' || t.body else t.body end as body, null as html
    from written as t
    cross join unnest(t.channels) as c(channel)
    union all
    select m.event_type, 'email', m.locale, m.subject, m.body, m.html from mails as m
    union all
    select 'message.text', 'sms', 'en', null, '{{ title }}{% if body %}: {{ body }}{% endif %}', null
)
select count(public.save_notification_template(
    w.event_type, w.channel, w.body, subject => w.subject, html => w.html, locale => w.locale,
    metadata_schema => jsonb_build_object('type', 'object', 'required', s.required, 'properties', s.properties)))
from wanted as w
join schemas as s using (event_type);
