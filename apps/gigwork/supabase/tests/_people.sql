-- Included by the tests: an employer with an open gig for two, two workers, and a stranger with a gig of their own.

select tests.create_supabase_user('employer', 'employer@gigwork.test', '60100000001', '{"full_name": "Eve Employer"}');
select tests.create_supabase_user('other employer', 'other@gigwork.test');
select tests.create_supabase_user('ada', 'ada@gigwork.test', '60100000002', '{"full_name": "Ada Lovelace"}');
select tests.create_supabase_user('bob', 'bob@gigwork.test', '60100000003', '{"full_name": "Bob Builder"}');
select tests.create_supabase_user('cleo', 'cleo@gigwork.test');

update public.users set role = 'employer'
where id in (tests.get_supabase_uid('employer'), tests.get_supabase_uid('other employer'));

insert into public.gigs
    (id, employer_id, title, category, location, hourly_rate, start_date, end_date, capacity, status, published_at)
values
    ('00000000-0000-4000-8000-000000000001', tests.get_supabase_uid('employer'), 'Waiter', 'test_kitchen',
        'POINT(101.6869 3.139)', 12.50, current_date - 1, current_date + 30, 2, 'open', now()),
    ('00000000-0000-4000-8000-000000000002', tests.get_supabase_uid('employer'), 'Draft', 'test_kitchen',
        'POINT(101.6869 3.139)', 12.50, current_date, current_date + 30, 1, 'draft', null),
    ('00000000-0000-4000-8000-000000000003', tests.get_supabase_uid('other employer'), 'Cook', 'test_kitchen',
        'POINT(101.7500 3.139)', 20.00, current_date, current_date + 30, 1, 'open', now());
