-- Points: an append-only log whose sum is the balance.
begin;
\ir _people.sql
select plan(15);

select col_not_null('public', 'points_log', 'user_id', 'every award is somebody''s');
select col_is_unique('public', 'points_log', array['user_id', 'reason', 'source_id'], 'a source is rewarded once');
select has_trigger('public', 'points_log', 'points_log_add_to_balance', 'a trigger keeps the balance');

select tests.authenticate_as_service_role();
select is(public.increment_user_points(tests.get_supabase_uid('ada'), 150, 'referral', '00000000-0000-4000-8000-0000000000aa'), 150,
    'an award answers the new balance');
select is(public.increment_user_points(tests.get_supabase_uid('ada'), 150, 'referral', '00000000-0000-4000-8000-0000000000aa'), 150,
    'the same source is not rewarded again');
select is(public.increment_user_points(tests.get_supabase_uid('ada'), -50), 100, 'a correction subtracts');
select throws_matching(
    $$select public.increment_user_points(tests.get_supabase_uid('ada'), -101)$$, '^POINTS_OUT_OF_RANGE: ', 'not below zero');
select throws_matching(
    $$select public.increment_user_points(tests.get_supabase_uid('ada'), 0)$$, '^VALIDATION_ERROR: ', 'nothing is no award');
select throws_matching(
    $$select public.increment_user_points(gen_random_uuid(), 5)$$, '^USER_NOT_FOUND: ', 'nobody gets nothing');
reset role;
select row_eq(
    $$select total_points, level from public.users where id = tests.get_supabase_uid('ada')$$, row(100, 2), 'a hundred points are level 2');

select throws_ok(
    $$update public.points_log set points = 1000 where user_id = tests.get_supabase_uid('ada')$$, '23000',
    'points_log is append only: correct an award with another row', 'the owner of the database does not change the log');
select throws_ok(
    $$delete from public.points_log where user_id = tests.get_supabase_uid('ada')$$, '23000', null, 'nor shorten it');
select throws_ok('truncate public.points_log', '23000', null, 'nor empty it');
select is_empty(
    $$select u.id from public.users as u
    where u.total_points <> (select coalesce(sum(l.points), 0) from public.points_log as l where l.user_id = u.id)$$,
    'the sum of the log is the balance of everybody, seeds included');

delete from auth.users where id = tests.get_supabase_uid('ada');
select is_empty(
    $$select l.id from public.points_log as l left join public.users as u on u.id = l.user_id where u.id is null$$,
    'an account takes its log along');

select * from finish();
rollback;
