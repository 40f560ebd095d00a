-- Standings: from the log, ties share a rank, names are short.
begin;
\ir _people.sql
select plan(9);

delete from auth.users where raw_user_meta_data ->> 'test_identifier' is null;
insert into public.points_log (user_id, points, reason)
values (tests.get_supabase_uid('ada'), 70, 'test'), (tests.get_supabase_uid('bob'), 70, 'test'), (tests.get_supabase_uid('cleo'), 10, 'test');

select tests.authenticate_as_service_role();
select is(public.refresh_leaderboard('all_time') ->> 'entries', '3', 'everybody with points stands in it');
select is(public.refresh_leaderboard('monthly') ->> 'entries', '3', 'also in the month');
select throws_matching($$select public.refresh_leaderboard('yearly')$$, '^VALIDATION_ERROR: ', 'there is no year');
reset role;
select results_eq(
    $$select points_earned, rank from public.leaderboard where period_type = 'all_time' order by rank, points_earned$$,
    'values (70, 1), (70, 1), (10, 3)', 'equal points share a rank, and the next is skipped');
select is(
    (select display_name from public.leaderboard where period_type = 'all_time' and user_id = tests.get_supabase_uid('ada')),
    'Ada L.', 'others learn a first name and an initial');

select function_privs_are('public', 'refresh_leaderboard', array['text', 'date'], 'authenticated', array[]::name[],
    'clients do not refresh it');
select tests.authenticate_as('cleo');
select isnt_empty('select rank from public.leaderboard', 'everybody who is signed in reads it');
select throws_ok('update public.leaderboard set rank = 1', '42501', null, 'and only reads it');
select tests.clear_authentication();
select throws_ok('select rank from public.leaderboard', '42501', null, 'visitors do not');

select * from finish();
rollback;
