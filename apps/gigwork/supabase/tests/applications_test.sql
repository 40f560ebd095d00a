-- A worker applies once, the employer decides, places do not overflow.
begin;
\ir _people.sql
select plan(22);

select tests.authenticate_as('ada');
select is(
    public.apply_to_gig('00000000-0000-4000-8000-000000000001', 'I am near') ->> 'status', 'pending',
    'an application waits for the employer');
select throws_matching(
    $$select public.apply_to_gig('00000000-0000-4000-8000-000000000001')$$, '^ALREADY_APPLIED: ', 'a second one is refused');
select throws_ok(
    $$select public.apply_to_gig('00000000-0000-4000-8000-000000000001')$$, 'PT409', null, 'with status 409');
select throws_matching(
    $$select public.apply_to_gig('00000000-0000-4000-8000-000000000002')$$, '^GIG_NOT_FOUND: ', 'drafts are not there');
select throws_matching(
    $$select public.apply_to_gig(gen_random_uuid())$$, '^GIG_NOT_FOUND: ', 'nor is what never was');
select throws_matching(
    $$select public.apply_to_gig('00000000-0000-4000-8000-000000000003', repeat('x', 2001))$$, '^VALIDATION_ERROR: ',
    'a cover message ends at 2,000 characters');
select results_eq('select points from public.points_log', array[10], 'applying earns ten points');
select results_eq('select total_points from public.users', array[10], 'which are in the balance');
select throws_ok(
    $$update public.gig_applications set status = 'accepted'$$, '42501', null, 'nobody accepts themselves');

select tests.authenticate_as('bob');
select is_empty('select id from public.gig_applications', 'another worker does not see it');
select lives_ok(
    $$insert into public.gig_applications (gig_id) values ('00000000-0000-4000-8000-000000000001')$$,
    'a plain insert is an application too');
select throws_matching(
    $$insert into public.gig_applications (gig_id) values ('00000000-0000-4000-8000-000000000001')$$, '^ALREADY_APPLIED: ',
    'and obeys the same rules');
select throws_ok(
    $$insert into public.gig_applications (user_id, gig_id)
    values (tests.get_supabase_uid('cleo'), '00000000-0000-4000-8000-000000000001')$$,
    '42501', null, 'nobody applies for somebody else');

select tests.authenticate_as('other employer');
select is_empty('select id from public.gig_applications', 'another employer does not see them');
select throws_matching(
    $$select public.apply_to_gig('00000000-0000-4000-8000-000000000003')$$, '^OWN_GIG: ', 'no employer applies to their own gig');

select tests.authenticate_as('employer');
select results_eq(
    $$select full_name from public.list_applicants('00000000-0000-4000-8000-000000000001') order by 1$$,
    array['Ada Lovelace', 'Bob Builder'], 'the employer sees who applied');
select is(
    (select count(*)::int from public.gig_applications as a,
        lateral public.decide_application(a.id, 'accepted') where a.gig_id = '00000000-0000-4000-8000-000000000001'),
    2, 'and accepts both');
select results_eq(
    $$select filled_count from public.gigs where id = '00000000-0000-4000-8000-000000000001'$$, array[2], 'both places are taken');
select throws_matching(
    $$select public.decide_application(id, 'rejected') from public.gig_applications$$, '^ALREADY_DECIDED: ',
    'what is decided stays decided');

select tests.authenticate_as('cleo');
select throws_matching(
    $$select public.apply_to_gig('00000000-0000-4000-8000-000000000001')$$, '^GIG_FULL: ', 'a third worker comes too late');

select tests.authenticate_as('bob');
select lives_ok(
    $$select public.withdraw_application(id) from public.gig_applications$$, 'a worker changes their mind');

select tests.authenticate_as('cleo');
select lives_ok(
    $$select public.apply_to_gig('00000000-0000-4000-8000-000000000001')$$, 'and the place is free again');

select * from finish();
rollback;
