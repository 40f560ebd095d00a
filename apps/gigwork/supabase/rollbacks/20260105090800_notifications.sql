-- Undoes 20260105090800_notifications.sql. Device tokens are lost.
drop function public.register_device(text, text);
drop table public.device_tokens;
