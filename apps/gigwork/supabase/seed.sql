-- Development data: 4,500 gigs around Kuala Lumpur and Singapore, employers, workers with a past, and accounts to sign
-- in with. Pseudo-random with a fixed seed; dates count from today. Password of every account: gigwork-demo
--     employer-1@gigwork.example, +60312340001    posts gigs 1, 21, 41, …
--     worker-1@gigwork.example,   +60123450001    has worked before
--     new-worker@gigwork.example, +60123459999    has not

select setseed(0.42);

create temporary table seed_people as
with password as (select extensions.crypt('gigwork-demo', extensions.gen_salt('bf', 10)) as hash),
names as (
    select
        array['Aisyah', 'Wei Ming', 'Kavitha', 'Farid', 'Mei Ling', 'Arjun', 'Siti', 'Jun Jie', 'Nurul', 'Daniel'] as first,
        array['Rahman', 'Tan', 'Subramaniam', 'Ismail', 'Lim', 'Pillai', 'Hassan', 'Wong', 'Abdullah', 'Lee'] as last
)
select
    md5('employer-' || n)::uuid as id, n, 'employer' as role, 'employer-' || n || '@gigwork.example' as email,
    '6031234' || lpad(n::text, 4, '0') as phone, 'Employer ' || n as full_name, hash
from generate_series(1, 20) as n, password
union all
select
    md5('worker-' || n)::uuid, n, 'worker', 'worker-' || n || '@gigwork.example', '6012345' || lpad(n::text, 4, '0'),
    names.first[1 + n % 10] || ' ' || names.last[1 + (n / 3) % 10], hash
from generate_series(1, 60) as n, password, names
union all
select
    md5('new-worker')::uuid, 9999, 'worker', 'new-worker@gigwork.example', '60123459999', 'Nora Newcomer', hash
from password;

insert into auth.users (
    instance_id, id, aud, role, email, encrypted_password, email_confirmed_at, phone, phone_confirmed_at,
    raw_app_meta_data, raw_user_meta_data, created_at, updated_at
)
select
    '00000000-0000-0000-0000-000000000000', id, 'authenticated', 'authenticated', email, hash, now(), phone, now(),
    '{"provider": "email", "providers": ["email", "phone"]}', jsonb_build_object('full_name', full_name), now(), now()
from seed_people
on conflict (id) do nothing;

update public.users as u
set role = p.role,
    skills = case when p.role = 'worker' then array['service', 'english'] else '{}' end
from seed_people as p
where u.id = p.id;

create temporary table seed_gigs as
with hubs (n, country, city, lat, lng) as (
    values
        (0, 'MY', 'Bukit Bintang', 3.1468, 101.7113), (1, 'MY', 'KLCC', 3.1579, 101.7123),
        (2, 'MY', 'Bangsar', 3.1290, 101.6710), (3, 'MY', 'Mont Kiara', 3.1725, 101.6509),
        (4, 'MY', 'Petaling Jaya', 3.1073, 101.6067), (5, 'MY', 'Subang Jaya', 3.0438, 101.5806),
        (6, 'MY', 'Shah Alam', 3.0733, 101.5185), (7, 'MY', 'Cheras', 3.1068, 101.7250),
        (8, 'MY', 'Ampang', 3.1490, 101.7620), (9, 'MY', 'Cyberjaya', 2.9213, 101.6559),
        (10, 'SG', 'Orchard', 1.3048, 103.8318), (11, 'SG', 'Marina Bay', 1.2834, 103.8607),
        (12, 'SG', 'Tampines', 1.3496, 103.9568), (13, 'SG', 'Jurong East', 1.3329, 103.7436),
        (14, 'SG', 'Woodlands', 1.4382, 103.7890)
),
work (n, category, title, rate) as (
    values
        (0, 'food_beverage', 'Barista', 12.0), (1, 'food_beverage', 'Kitchen helper', 10.0),
        (2, 'retail', 'Shop assistant', 11.0), (3, 'retail', 'Stock counter', 11.5),
        (4, 'events', 'Event crew', 14.0), (5, 'events', 'Usher', 12.5),
        (6, 'logistics', 'Parcel sorter', 12.0), (7, 'logistics', 'Delivery rider', 15.0),
        (8, 'hospitality', 'Banquet server', 13.0), (9, 'cleaning', 'Office cleaner', 11.0),
        (10, 'promotion', 'Promoter', 16.0), (11, 'office', 'Data entry clerk', 13.5)
),
drawn as (
    select
        n, random() as place, random() as turn, sqrt(random()) as away, random() as kind, random() as pay,
        random() as day, random() as size, random() as state
    from generate_series(1, 4500) as n
)
select
    d.n,
    md5('gig-' || d.n)::uuid as id,
    md5('employer-' || 1 + (d.n - 1) % 20)::uuid as employer_id,
    w.title || ' in ' || h.city as title,
    w.category,
    h.city,
    -- Up to 4 km from a hub; a degree is about 111 km here, near the equator.
    extensions.st_setsrid(
        extensions.st_makepoint(
            h.lng + away * 0.036 * cos(turn * 2 * pi()), h.lat + away * 0.036 * sin(turn * 2 * pi())),
        4326)::extensions.geography as location,
    round((w.rate * (0.85 + d.pay * 0.6))::numeric, 1) as hourly_rate,
    case h.country when 'MY' then 'MYR' else 'SGD' end as currency,
    current_date + case when d.n <= 150 then -14 + (d.day * 12)::int else (d.day * 30)::int end as start_date,
    1 + (d.size * 9)::int as capacity,
    case
        when d.n <= 150 or d.state < 0.88 then 'open'
        when d.state < 0.92 then 'draft'
        when d.state < 0.97 then 'closed'
        else 'cancelled'
    end as status,
    d.pay
from drawn as d
join hubs as h on h.n = case when d.place < 0.65 then (d.place / 0.65 * 10)::int % 10 else 10 + ((d.place - 0.65) / 0.35 * 5)::int % 5 end
join work as w on w.n = (d.kind * 12)::int % 12;

insert into public.gigs (
    id, employer_id, title, description, category, city, location, hourly_rate, currency, start_date, end_date,
    shift_start, shift_end, capacity, status, published_at
)
select
    id, employer_id, title, title || '. Training on the spot, meal included.', category, city, location, hourly_rate,
    currency, start_date, start_date, '09:00', '18:00', capacity, status,
    case when status <> 'draft' then least(now(), start_date::timestamptz) - pay * interval '7 days' end
from seed_gigs;

-- The past: the first 150 gigs were worked by up to three of the sixty workers each.
insert into public.gig_applications (user_id, gig_id, cover_message)
select distinct md5('worker-' || 1 + (g.n * 7 + k * 11) % 60)::uuid, g.id, 'I live nearby.'
from seed_gigs as g
cross join generate_series(0, 2) as k
where g.n <= 150 and k < g.capacity;

update public.gig_applications as a
set status = 'accepted', decided_at = now()
from seed_gigs as g
where g.n <= 150 and a.gig_id = g.id;

create temporary table seed_shifts as
select distinct on (a.user_id, g.start_date)  -- one shift a day
    md5('shift-' || g.n || a.user_id)::uuid as id, a.user_id, g.id as gig_id, g.location, g.hourly_rate,
    (g.start_date + time '09:00') at time zone 'Asia/Singapore' as clock_in,
    round((4 + 5 * g.pay)::numeric, 2) as hours
from public.gig_applications as a
join seed_gigs as g on g.id = a.gig_id
where g.n <= 150
order by a.user_id, g.start_date, g.n;

insert into public.timesheets (
    id, user_id, gig_id, clock_in, clock_in_location, clock_out, clock_out_location, hourly_rate, total_hours_worked,
    total_amount
)
select
    id, user_id, gig_id, clock_in, location, clock_in + hours * interval '1 hour', location, hourly_rate, hours,
    round(hours * hourly_rate, 2)
from seed_shifts;

insert into public.points_log (user_id, points, reason, source_id, created_at)
select user_id, case when hours >= 8 then 70 else 50 end, 'completed_shift', id, clock_in + hours * interval '1 hour'
from seed_shifts
order by clock_in;

do $$
begin
    perform private.recompute_streak(user_id) from (select distinct user_id from seed_shifts) as workers;
end
$$;

update public.gigs as g
set status = 'completed'
from seed_gigs as s
where s.n <= 150 and g.id = s.id;

do $$
begin
    perform private.unlock_achievements(id) from seed_people where role = 'worker';
    perform public.refresh_leaderboard(period)
    from unnest(array['daily', 'weekly', 'monthly', 'all_time']) as period;
end
$$;

-- A few applications that wait for an answer of employer 1.
insert into public.gig_applications (user_id, gig_id, cover_message)
select md5('worker-' || 1 + g.n % 9)::uuid, g.id, 'Available on the day.'
from seed_gigs as g
where g.n between 201 and 600 and g.n % 20 = 1 and g.status = 'open';

drop table seed_people, seed_gigs, seed_shifts;
