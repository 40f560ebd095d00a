-- Undoes 20260105090800_notifications.sql. Device tokens and notifications are lost.
drop function public.register_device(text, text);
drop table public.notifications;
drop table public.device_tokens;
