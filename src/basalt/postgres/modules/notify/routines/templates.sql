-- Templates are never changed once they are used: a new text is a new version.
select pg_temp.become_owner();

create or replace function public.save_notification_template(
    event_type text, channel text, body text, subject text default null, html text default null, locale text default 'en',
    metadata_schema jsonb default '{}')
returns public.notification_templates
language plpgsql
security invoker
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    saved public.notification_templates;
begin
    if coalesce(save_notification_template.event_type, '') !~ '^[a-z0-9][a-z0-9._:-]{0,99}$' then
        raise exception 'event_type: % is no name of an event', left(save_notification_template.event_type, 120)
            using errcode = 'PT400', hint = 'Lower-case letters, digits, dots and dashes, as in order.shipped';
    end if;
    if coalesce(save_notification_template.channel, '') not in ('in_app', 'email', 'push', 'sms') then
        raise exception 'channel: there is no channel %', left(save_notification_template.channel, 100)
            using errcode = 'PT400', hint = 'Channels are in_app, email, push and sms';
    end if;
    if coalesce(save_notification_template.locale, '') !~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$' then
        raise exception 'locale: % is no language tag', left(save_notification_template.locale, 100)
            using errcode = 'PT400', hint = 'For example en, de-AT or pt-BR';
    end if;
    if coalesce(save_notification_template.body, '') = '' then
        raise exception 'body is empty' using errcode = 'PT400';
    end if;
    if greatest(length(save_notification_template.body), length(save_notification_template.html)) > 65536
        or length(save_notification_template.subject) > 4096 then
        raise exception 'body and html have 65536 characters at most, and subject 4096' using errcode = 'PT400';
    end if;
    if save_notification_template.channel = 'email' and coalesce(save_notification_template.subject, '') = '' then
        raise exception 'subject is empty: a mail has one' using errcode = 'PT400';
    end if;
    if save_notification_template.html is not null and save_notification_template.channel <> 'email' then
        raise exception 'html is for mails only' using errcode = 'PT400';
    end if;
    perform pg_advisory_xact_lock(hashtextextended(
        concat_ws('/', save_notification_template.event_type, save_notification_template.channel,
            save_notification_template.locale), 20));
    insert into public.notification_templates (
        event_type, channel, locale, version, subject_template, body_template, html_template, metadata_schema)
    select
        save_notification_template.event_type, save_notification_template.channel, save_notification_template.locale,
        coalesce(max(t.version), 0) + 1, save_notification_template.subject, save_notification_template.body,
        save_notification_template.html, coalesce(save_notification_template.metadata_schema, '{}')
    from public.notification_templates as t
    where t.event_type = save_notification_template.event_type and t.channel = save_notification_template.channel
        and t.locale = save_notification_template.locale
    returning * into saved;
    return saved;
end
$$;

comment on function public.save_notification_template(text, text, text, text, text, text, jsonb) is
    'Makes the next version of a template, which is used from then on.';

revoke execute on function public.save_notification_template(text, text, text, text, text, text, jsonb)
    from public, anon, authenticated;
grant execute on function public.save_notification_template(text, text, text, text, text, text, jsonb)
    to postgres, service_role;
