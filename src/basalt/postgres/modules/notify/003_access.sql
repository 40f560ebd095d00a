-- Who may do what to which columns. A table that the project had before keeps the privileges that the project gave; only its
-- rows are guarded in any case.

do $$
declare
    table_name text;
begin
    foreach table_name in array array['notification_templates', 'notification_channels', 'notification_preferences',
        'notification_events', 'notification_queue', 'notification_deliveries', 'notifications']
    loop
        if not exists (select from pg_temp.earlier_tables as e where e.name = 'public.' || table_name) then
            execute format('revoke all on public.%I from public, anon, authenticated', table_name);
        end if;
        execute format('grant all on public.%I to postgres, service_role', table_name);
        execute format('alter table public.%I enable row level security', table_name);
    end loop;
end
$$;

-- Templates are the project's own: who knows their text knows what others are written.
grant select, delete on public.notification_channels to authenticated;
grant insert (user_id, channel, provider, address, label, is_enabled) on public.notification_channels to authenticated;
grant update (label, is_enabled) on public.notification_channels to authenticated;

-- An upsert writes `user_id` too; the policies keep it the caller's own.
grant select, delete on public.notification_preferences to authenticated;
grant insert (user_id, channel_settings, digest_frequency, rate_limit_per_hour, quiet_hours_start, quiet_hours_end, timezone,
    locale) on public.notification_preferences to authenticated;
grant update (user_id, channel_settings, digest_frequency, rate_limit_per_hour, quiet_hours_start, quiet_hours_end, timezone,
    locale) on public.notification_preferences to authenticated;

grant select on public.notification_events, public.notification_queue, public.notification_deliveries to authenticated;

grant select, delete on public.notifications to authenticated;
grant update (read_at, archived_at) on public.notifications to authenticated;

do $$
begin
    if exists (select from pg_catalog.pg_publication as p where p.pubname = 'supabase_realtime' and not p.puballtables)
        and not exists (
            select from pg_catalog.pg_publication_tables as t
            where t.pubname = 'supabase_realtime' and t.schemaname = 'public' and t.tablename = 'notifications')
    then
        perform pg_temp.attempt('alter publication supabase_realtime add table public.notifications');
    end if;
end
$$;
