-- Undoes 20260105140100_notification_times.sql.
drop trigger notifications_touch_updated_at on public.notifications;
alter table public.notifications drop column updated_at;
