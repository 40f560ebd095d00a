-- Whose rows are whose. No policy for a verb is none of it; service_role passes.

drop policy if exists "people read their own channels" on public.notification_channels;
create policy "people read their own channels" on public.notification_channels
    for select to authenticated using (user_id = (select auth.uid()));
drop policy if exists "people add channels of their own" on public.notification_channels;
create policy "people add channels of their own" on public.notification_channels
    for insert to authenticated with check (user_id = (select auth.uid()) and not verified);
drop policy if exists "people change their own channels" on public.notification_channels;
create policy "people change their own channels" on public.notification_channels
    for update to authenticated using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
drop policy if exists "people remove their own channels" on public.notification_channels;
create policy "people remove their own channels" on public.notification_channels
    for delete to authenticated using (user_id = (select auth.uid()));

drop policy if exists "people read their own preferences" on public.notification_preferences;
create policy "people read their own preferences" on public.notification_preferences
    for select to authenticated using (user_id = (select auth.uid()));
drop policy if exists "people write their own preferences" on public.notification_preferences;
create policy "people write their own preferences" on public.notification_preferences
    for insert to authenticated with check (user_id = (select auth.uid()));
drop policy if exists "people change their own preferences" on public.notification_preferences;
create policy "people change their own preferences" on public.notification_preferences
    for update to authenticated using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
drop policy if exists "people remove their own preferences" on public.notification_preferences;
create policy "people remove their own preferences" on public.notification_preferences
    for delete to authenticated using (user_id = (select auth.uid()));

drop policy if exists "people read events about themselves" on public.notification_events;
create policy "people read events about themselves" on public.notification_events
    for select to authenticated using (subject_id = (select auth.uid()));

drop policy if exists "people read what is queued for them" on public.notification_queue;
create policy "people read what is queued for them" on public.notification_queue
    for select to authenticated using (user_id = (select auth.uid()));

drop policy if exists "people read what was delivered to them" on public.notification_deliveries;
create policy "people read what was delivered to them" on public.notification_deliveries
    for select to authenticated using (queue_id = any (array(  -- asked once, so that the index is used
        select q.id from public.notification_queue as q where q.user_id = (select auth.uid()))));

drop policy if exists "people read their own notifications" on public.notifications;
create policy "people read their own notifications" on public.notifications
    for select to authenticated
    using (user_id = (select auth.uid()) and (expires_at is null or expires_at > now()));  -- before the clean-up comes by
drop policy if exists "people mark their own notifications" on public.notifications;
create policy "people mark their own notifications" on public.notifications
    for update to authenticated using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
drop policy if exists "people delete their own notifications" on public.notifications;
create policy "people delete their own notifications" on public.notifications
    for delete to authenticated using (user_id = (select auth.uid()));
