-- New thresholds for levels apply to awards that happen at the same moment, too.

create function private.hold_awards()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    lock table public.users in exclusive mode;
    return null;
end
$$;
comment on function private.hold_awards() is
    'Before the thresholds change: awards wait until they are committed. One that read the old ones, and was committed after '
    'levels_apply had looked, would leave a level that nobody puts right. Reading profiles waits for nothing.';

create trigger levels_hold_awards
before insert or update or delete on public.levels
for each statement execute function private.hold_awards();

revoke all on all routines in schema private from public;
