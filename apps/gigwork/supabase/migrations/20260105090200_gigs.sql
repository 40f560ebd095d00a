-- Gigs: posted by employers, found by distance.

create table public.gigs (
    id uuid primary key default gen_random_uuid(),
    employer_id uuid default auth.uid() references public.users (id) on delete set null,
    title text not null check (char_length(title) between 1 and 200),
    description text not null default '' check (char_length(description) <= 10000),
    category text not null check (category ~ '^[a-z][a-z0-9_]{0,49}$'),
    address text check (char_length(address) <= 500),
    city text check (char_length(city) <= 100),
    location extensions.geography(point, 4326) not null,
    latitude double precision not null
        generated always as (extensions.st_y(location::extensions.geometry)) stored,
    longitude double precision not null
        generated always as (extensions.st_x(location::extensions.geometry)) stored,
    hourly_rate numeric(10, 2) not null check (hourly_rate >= 0),
    currency text not null default 'MYR' check (currency ~ '^[A-Z]{3}$'),
    start_date date not null,
    end_date date not null,
    shift_start time not null default '09:00',
    shift_end time not null default '17:00',
    capacity int not null default 1 check (capacity > 0),
    filled_count int not null default 0 check (filled_count >= 0),
    status text not null default 'draft'
        check (status in ('draft', 'open', 'closed', 'completed', 'cancelled')),
    published_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (end_date >= start_date),
    constraint gigs_filled_within_capacity check (filled_count <= capacity)
);
comment on table public.gigs is 'Work on offer at a place. Listed when status is open and published_at is set.';
comment on column public.gigs.employer_id is 'Who posted it; null once that account is deleted.';
comment on column public.gigs.title is 'Up to 200 characters.';
comment on column public.gigs.description is 'Up to 10,000 characters.';
comment on column public.gigs.category is 'A lower-case word such as food_beverage; search_gigs compares it exactly.';
comment on column public.gigs.address is 'For people; distances come from location.';
comment on column public.gigs.city is 'For people.';
comment on column public.gigs.currency is 'ISO 4217.';
comment on column public.gigs.start_date is 'First day of work.';
comment on column public.gigs.end_date is 'Last day of work; attendance is judged after it.';
comment on column public.gigs.shift_start is 'Local time.';
comment on column public.gigs.capacity is 'Workers that can be accepted.';
comment on column public.gigs.status is
    'draft: not posted. open: takes applications. closed: takes none, is still worked at. completed, cancelled: over.';
comment on column public.gigs.published_at is 'When it was listed; open gigs without it are hidden.';
comment on column public.gigs.location is 'Where the work is; written as "POINT(lng lat)". Clock-in and clock-out happen within 100 m of it.';
comment on column public.gigs.latitude is 'From location, for maps.';
comment on column public.gigs.longitude is 'From location, for maps.';
comment on column public.gigs.hourly_rate is 'Per hour, in currency; copied to a timesheet at clock-in.';
comment on column public.gigs.shift_end is 'A shift that ends before it starts ends on the next day.';
comment on column public.gigs.filled_count is 'Accepted applications; kept by the trigger of gig_applications.';

create index gigs_status_idx on public.gigs (status);
create index gigs_category_idx on public.gigs (category);
create index gigs_start_date_end_date_idx on public.gigs (start_date, end_date);
create index gigs_location_idx on public.gigs using gist (location);
create index gigs_employer_id_idx on public.gigs (employer_id);
create index gigs_newest_idx on public.gigs (published_at desc) where status = 'open' and published_at is not null;
comment on index public.gigs_newest_idx is 'search_gigs without a position: newest first.';

create trigger gigs_touch_updated_at
before update on public.gigs
for each row execute function private.touch_updated_at();

create function private.retire_gigs()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.gigs set status = 'cancelled' where employer_id = old.id and status in ('draft', 'open');
    return old;
end
$$;
comment on function private.retire_gigs() is
    'Before an account goes: nobody would be left to answer the applications to its open gigs.';

create trigger users_retire_gigs
before delete on public.users
for each row execute function private.retire_gigs();

create function private.is_employer()
returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (select from public.users where id = (select auth.uid()) and role = 'employer')
$$;
comment on function private.is_employer() is 'For policies: whether the caller may post gigs.';

alter table public.gigs enable row level security;

create policy "anyone views active gigs"
on public.gigs for select to anon, authenticated
using (status = 'open' and published_at is not null);

create policy "employers view their own gigs"
on public.gigs for select to authenticated
using (employer_id = (select auth.uid()));

create policy "employers post gigs as themselves"
on public.gigs for insert to authenticated
with check (employer_id = (select auth.uid()) and (select private.is_employer()));

create policy "employers change their own gigs"
on public.gigs for update to authenticated
using (employer_id = (select auth.uid()))
with check (employer_id = (select auth.uid()) and (select private.is_employer()));

create policy "employers delete their own drafts"
on public.gigs for delete to authenticated
using (employer_id = (select auth.uid()) and status = 'draft');

revoke all on public.gigs from anon, authenticated, service_role;
grant select on public.gigs to anon, authenticated;
grant select, insert, update, delete on public.gigs to service_role;
grant insert (id, title, description, category, address, city, location, hourly_rate, currency, start_date, end_date,
    shift_start, shift_end, capacity, status, published_at, employer_id) on public.gigs to authenticated;
grant update (title, description, category, address, city, location, hourly_rate, currency, start_date, end_date,
    shift_start, shift_end, capacity, status, published_at) on public.gigs to authenticated;
grant delete on public.gigs to authenticated;

create function public.search_gigs(
    p_category text default null,
    p_max_distance_km int default 10,
    p_user_lat numeric default null,
    p_user_lng numeric default null,
    p_min_rate numeric default 0,
    p_limit int default 1000,
    p_offset int default 0
)
returns setof public.gigs
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    v_here extensions.geography;
    v_reach_m double precision;
begin
    if p_limit < 0 or p_offset < 0 or p_max_distance_km < 0 then
        perform private.fail('VALIDATION_ERROR', 400, 'Distance, limit and offset cannot be negative');
    end if;
    if p_user_lat is null and p_user_lng is null then
        return query
        select g.*
        from public.gigs as g
        where g.status = 'open'
            and g.published_at is not null
            and (p_category is null or g.category = p_category)
            and g.hourly_rate >= coalesce(p_min_rate, 0)
        order by g.published_at desc, g.id
        limit p_limit offset p_offset;
        return;
    end if;
    v_here := private.point_at(p_user_lat::double precision, p_user_lng::double precision);
    v_reach_m := coalesce(p_max_distance_km, 10) * 1000.0;
    return query
    select g.*
    from public.gigs as g
    where g.status = 'open'
        and g.published_at is not null
        and (p_category is null or g.category = p_category)
        and g.hourly_rate >= coalesce(p_min_rate, 0)
        and extensions.st_dwithin(g.location, v_here, v_reach_m)
    order by extensions.st_distance(g.location, v_here), g.id
    limit p_limit offset p_offset;
end
$$;
-- Security definer, although every row it answers is public: st_dwithin is not leakproof, so under row-level security
-- the planner would have to read every gig and check the policy before it may look at the GiST index.
comment on function public.search_gigs(text, int, numeric, numeric, numeric, int, int) is
    'Open and published gigs: within p_max_distance_km of a position, nearest first; newest first without a position.';

revoke all on function public.search_gigs(text, int, numeric, numeric, numeric, int, int) from public;
grant execute on function public.search_gigs(text, int, numeric, numeric, numeric, int, int)
    to anon, authenticated, service_role;

revoke all on all routines in schema private from public;
grant execute on function private.is_employer() to authenticated;
