-- Which gigs a worker wants to hear of: where, how far, of which kinds, for how much.

create table public.gig_alerts (
    user_id uuid primary key default auth.uid() references public.users (id) on delete cascade,
    location extensions.geography(point, 4326) not null,
    radius_m int not null default 10000 check (radius_m between 500 and 50000),
    categories text[] not null default '{}' check (cardinality(categories) <= 50),
    min_hourly_rate numeric(10, 2) not null default 0 check (min_hourly_rate >= 0),
    is_enabled boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table public.gig_alerts is
    'Which new gigs a worker is told of, one row each. By which channels is in notification_preferences.';
comment on column public.gig_alerts.location is 'From where; written as "POINT(lng lat)".';
comment on column public.gig_alerts.radius_m is 'How far, in metres: 500 to 50,000.';
comment on column public.gig_alerts.categories is 'Only these; none is all.';
comment on column public.gig_alerts.min_hourly_rate is 'Only for that much or more, in the currency of the gig.';
comment on column public.gig_alerts.is_enabled is 'Off keeps the wishes.';

create index gig_alerts_location_idx on public.gig_alerts using gist (location) where is_enabled;

create trigger gig_alerts_touch_updated_at
before update on public.gig_alerts
for each row execute function private.touch_updated_at();

alter table public.gig_alerts enable row level security;

create policy "workers view their own alerts"
on public.gig_alerts for select to authenticated
using ((select auth.uid()) = user_id);

create policy "workers add their own alerts"
on public.gig_alerts for insert to authenticated
with check ((select auth.uid()) = user_id);

create policy "workers change their own alerts"
on public.gig_alerts for update to authenticated
using ((select auth.uid()) = user_id)
with check ((select auth.uid()) = user_id);

create policy "workers remove their own alerts"
on public.gig_alerts for delete to authenticated
using ((select auth.uid()) = user_id);

revoke all on public.gig_alerts from anon, authenticated, service_role;
grant select, delete on public.gig_alerts to authenticated;
-- An upsert writes user_id, too; the policies keep it the caller's own.
grant insert (user_id, location, radius_m, categories, min_hourly_rate, is_enabled),
    update (user_id, location, radius_m, categories, min_hourly_rate, is_enabled)
on public.gig_alerts to authenticated;
grant select, insert, update, delete on public.gig_alerts to service_role;

create function private.workers_near_gig(p_arguments jsonb)
returns setof uuid
language sql
stable
security definer
set search_path = ''
as $$
    select w.user_id
    from public.gigs as g
    join public.gig_alerts as w
        -- The first condition, with the largest radius there is, is what the index answers; the second is each worker's own.
        on extensions.st_dwithin(w.location, g.location, 50000)
        and extensions.st_dwithin(w.location, g.location, w.radius_m)
    join public.users as u on u.id = w.user_id
    where g.id = (p_arguments ->> 'gig_id')::uuid
        and g.status = 'open'
        and g.published_at is not null
        and w.is_enabled
        and (w.categories = '{}' or g.category = any (w.categories))
        and g.hourly_rate >= w.min_hourly_rate
        and w.user_id is distinct from g.employer_id
        and not exists (
            select from public.gig_applications as a where a.gig_id = g.id and a.user_id = w.user_id)
$$;
comment on function private.workers_near_gig(jsonb) is
    'The audience of a new gig, {"gig_id"}: workers who wish for it where it is and have not applied. Nobody once it is closed.';

revoke all on function private.workers_near_gig(jsonb) from public;
grant execute on function private.workers_near_gig(jsonb) to service_role;
