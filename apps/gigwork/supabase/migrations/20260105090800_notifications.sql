-- Devices. What is shown in the app is a table of the notification engine, which is there before the migrations.

create table public.device_tokens (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null default auth.uid() references public.users (id) on delete cascade,
    token text not null unique check (char_length(token) between 1 and 4096),
    platform text not null check (platform in ('android', 'ios', 'web')),
    last_seen_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table public.device_tokens is 'Push addresses. A token belongs to whoever signed in last on that device.';

comment on column public.device_tokens.token is 'As the push service gave it to the device.';
comment on column public.device_tokens.platform is 'android, ios or web.';
comment on column public.device_tokens.last_seen_at is 'When the app last registered it.';

create index device_tokens_user_id_idx on public.device_tokens (user_id);

create trigger device_tokens_touch_updated_at
before update on public.device_tokens
for each row execute function private.touch_updated_at();

alter table public.device_tokens enable row level security;

create policy "users view their own devices"
on public.device_tokens for select to authenticated
using ((select auth.uid()) = user_id);

create policy "users add their own devices"
on public.device_tokens for insert to authenticated
with check ((select auth.uid()) = user_id);

create policy "users change their own devices"
on public.device_tokens for update to authenticated
using ((select auth.uid()) = user_id)
with check ((select auth.uid()) = user_id);

create policy "users remove their own devices"
on public.device_tokens for delete to authenticated
using ((select auth.uid()) = user_id);

revoke all on public.device_tokens from anon, authenticated, service_role;
grant select, delete on public.device_tokens to authenticated;
grant insert (user_id, token, platform) on public.device_tokens to authenticated;
grant update (platform, last_seen_at) on public.device_tokens to authenticated;
grant select, insert, update, delete on public.device_tokens to service_role;

create function public.register_device(p_token text, p_platform text)
returns uuid
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_user_id constant uuid := private.require_user();
    v_id uuid;
begin
    if p_token is null or char_length(p_token) not between 1 and 4096
        or p_platform is null or p_platform not in ('android', 'ios', 'web') then
        perform private.fail('VALIDATION_ERROR', 400, 'A device has a token, and its platform is android, ios or web');
    end if;
    insert into public.device_tokens (user_id, token, platform)
    values (v_user_id, p_token, p_platform)
    on conflict (token) do update
    set user_id = excluded.user_id,
        platform = excluded.platform,
        last_seen_at = now()
    returning id into v_id;
    return v_id;
end
$$;
comment on function public.register_device(text, text) is
    'Registers the caller''s device; a token that another account left behind on it changes hands.';

revoke all on function public.register_device(text, text) from public, anon;
grant execute on function public.register_device(text, text) to authenticated, service_role;

revoke all on all routines in schema private from public;
