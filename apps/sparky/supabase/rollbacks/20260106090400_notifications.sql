-- Undoes 20260106090400_notifications.sql. Notifications are lost.
drop function private.tell(uuid, text, text, text, text, jsonb);
drop table public.notifications;
