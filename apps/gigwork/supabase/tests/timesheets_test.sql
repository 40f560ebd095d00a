-- Clocking in and out where the work is; hours and pay; nobody works two shifts at once.
begin;
\ir _people.sql
insert into public.gig_applications (user_id, gig_id) values (tests.get_supabase_uid('ada'), '00000000-0000-4000-8000-000000000001');
update public.gig_applications set status = 'accepted' where user_id = tests.get_supabase_uid('ada');
select plan(18);

select col_type_is('public', 'timesheets', 'total_amount', 'numeric(12,2)', 'money is numeric');
select fk_ok('public', 'timesheets', 'gig_id', 'public', 'gigs', 'id', 'a shift belongs to a gig');
select index_is_unique('public', 'timesheets', 'timesheets_one_open_idx', 'an index, not only a routine, refuses a second open shift');

select tests.authenticate_as('bob');
select throws_matching(
    $$select public.clock_in('00000000-0000-4000-8000-000000000001', 3.139, 101.6869)$$, '^NOT_ACCEPTED: ',
    'only who was accepted clocks in');

select tests.authenticate_as('ada');
select throws_matching(
    $$select public.clock_in('00000000-0000-4000-8000-000000000001', 3.1435, 101.6869)$$, '^INVALID_LOCATION: You are \d+ m',
    'not from 500 metres away');
select throws_matching(
    $$select public.clock_in('00000000-0000-4000-8000-000000000001', 91, 101.6869)$$, '^VALIDATION_ERROR: ',
    'not from a place that is not on Earth');
select lives_ok(
    $$select public.clock_in('00000000-0000-4000-8000-000000000001', 3.13945, 101.6869)$$, 'from 50 metres away');
select throws_matching(
    $$select public.clock_in('00000000-0000-4000-8000-000000000001', 3.139, 101.6869)$$, '^ALREADY_CLOCKED_IN: ',
    'one shift at a time');
select results_eq('select hourly_rate from public.timesheets', array[12.50], 'the rate is that of the gig at clock-in');
select throws_ok('update public.timesheets set hourly_rate = 1000', '42501', null, 'and no client changes it');
select throws_matching(
    $$select public.withdraw_application(id) from public.gig_applications$$, '^ALREADY_STARTED: ', 'who has begun does not withdraw');

reset role;
update public.timesheets set clock_in = now() - interval '3 hours 30 minutes' where user_id = tests.get_supabase_uid('ada');

select tests.authenticate_as('bob');
select is_empty('select id from public.timesheets', 'another worker does not see it');
select throws_ok(
    $$select public.clock_out(gen_random_uuid(), 3.139, 101.6869)$$, 'PT404', null, 'nobody ends a shift that is not theirs');

select tests.authenticate_as('ada');
select lives_ok($$select public.clock_out(id, 3.139, 101.6869) from public.timesheets$$, 'the shift ends');
select results_eq(
    'select round(total_hours_worked, 2), total_amount = round(total_hours_worked * 12.50, 2) from public.timesheets',
    'values (3.50, true)', 'three and a half hours are paid');
select is(
    (select total_points from public.users), (select sum(points)::int from public.points_log), 'the balance is the sum of the log');

select tests.authenticate_as('employer');
select isnt_empty('select id from public.timesheets', 'the employer sees shifts of their gigs');
reset role;
select throws_ok(
    'update public.timesheets set total_amount = total_amount + 1 where user_id = '
        || quote_literal(tests.get_supabase_uid('ada')),
    '23514', null, 'pay is hours times rate, whoever writes it');

select * from finish();
rollback;
