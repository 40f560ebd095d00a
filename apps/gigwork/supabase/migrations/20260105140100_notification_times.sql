-- The notification engine's table replaced one of the app's own, which had both times, as every table of the app has.

alter table public.notifications add column updated_at timestamptz not null default now();
comment on column public.notifications.updated_at is 'When it was made, read or archived.';

create trigger notifications_touch_updated_at
before update on public.notifications
for each row execute function private.touch_updated_at();
