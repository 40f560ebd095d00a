-- Each person sees and changes their own rows and nothing else.
begin;
\ir _people.sql
select plan(31);

select tests.rls_enabled('public');
select table_privs_are('public', 'points_log', 'anon', array[]::name[], 'visitors have no right on the log');
select table_privs_are('public', 'points_log', 'authenticated', array['SELECT'], 'the log is read by its owners, and only read');
select table_privs_are('public', 'points_log', 'service_role', array['SELECT'], 'even the service role does not write the log directly');
select table_privs_are('public', 'users', 'authenticated', array['SELECT'], 'profiles are neither made nor deleted by clients');
select column_privs_are('public', 'users', 'total_points', 'authenticated', array['SELECT'], 'a balance is not the client''s to write');
select column_privs_are('public', 'users', 'role', 'authenticated', array['SELECT'], 'nor is a role');
select column_privs_are('public', 'users', 'full_name', 'authenticated', array['SELECT', 'UPDATE'], 'a name is');
select policies_are('public', 'points_log', array['users view their own points']);
select policy_cmd_is('public', 'points_log', 'users view their own points'::name, 'select', 'the log has a policy for reading');
select policy_roles_are('public', 'points_log', 'users view their own points', array['authenticated'], 'for people who are signed in');

select has_schema('private', 'routines behind policies have a schema of their own');
select schema_privs_are('private', 'anon', array['USAGE'], 'which clients may name, because policies do');
select function_privs_are('private', 'award_points', array['uuid', 'integer', 'text', 'uuid'], 'authenticated', array[]::name[],
    'nobody awards points to themselves');
select function_privs_are('public', 'increment_user_points', array['uuid', 'integer', 'text', 'uuid'], 'authenticated',
    array[]::name[], 'nor by the public routine');
select function_privs_are('public', 'increment_user_points', array['uuid', 'integer', 'text', 'uuid'], 'service_role',
    array['EXECUTE'], 'the service role does');
select is_definer('public', 'apply_to_gig', array['uuid', 'text'], 'applications go past policies, by one routine');

select tests.authenticate_as('ada');
select results_eq('select email from public.users', array['ada@gigwork.test'], 'Ada sees her own profile alone');
select lives_ok($$update public.users set full_name = 'Ada King'$$, 'she changes her name');
select throws_ok('update public.users set total_points = 1000', '42501', null, 'not her points');
select throws_ok($$update public.users set role = 'employer'$$, '42501', null, 'not her role');
select throws_ok('delete from public.users', '42501', null, 'she does not delete profiles');
select is_empty($$select id from public.gigs where status = 'draft'$$, 'she sees no drafts');
select throws_ok(
    $$insert into public.gigs (title, category, location, hourly_rate, start_date, end_date)
    values ('Mine', 'test_kitchen', 'POINT(101 3)', 10, '2026-01-01', '2026-01-02')$$,
    '42501', null, 'workers post no gigs');
select throws_ok(
    $$insert into public.points_log (user_id, points, reason) values (auth.uid(), 1000, 'greed')$$,
    '42501', null, 'nobody writes the log');

select tests.authenticate_as('employer');
select set_eq($$select title from public.gigs where category = 'test_kitchen'$$, array['Waiter', 'Draft', 'Cook'],
    'an employer sees their drafts beside what is open');
select lives_ok(
    $$insert into public.gigs (title, category, location, hourly_rate, start_date, end_date)
    values ('New', 'test_kitchen', 'POINT(101 3)', 10, '2026-01-01', '2026-01-02')$$,
    'employers post gigs');
select is_empty(
    $$update public.gigs set title = 'Taken over' where title = 'Cook' returning id$$,
    'they change no gig of another');

select tests.clear_authentication();
select set_eq($$select title from public.gigs where category = 'test_kitchen'$$, array['Waiter', 'Cook'],
    'a visitor sees what is open');
select throws_ok('select * from public.users', '42501', null, 'and no people');
select throws_ok('select * from public.timesheets', '42501', null, 'and no shifts');

select * from finish();
rollback;
