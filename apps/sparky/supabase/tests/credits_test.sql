-- The ledger and a run, in SQL: the sum of the log is the balance, and nothing is charged twice.
begin;
select plan(17);

select tests.create_supabase_user('dina');
select tests.create_supabase_user('omar');
create temporary table who as select tests.get_supabase_uid('dina') as dina, tests.get_supabase_uid('omar') as omar;
grant select on who to authenticated, service_role;

select results_eq(
    'select credits, plan_id from public.users where id = (select dina from who)',
    $$values (10, 'free')$$,
    'an account starts with the free plan and its credits');
select throws_ok(
    'update public.credit_log set credits = 99', '23000', null, 'the log cannot be changed');
select throws_ok(
    'delete from public.credit_log', '23000', null, 'nor shortened');

select tests.authenticate_as_service_role();
select is(
    public.begin_generation((select dina from who), 'hair_color', repeat('a', 64)),
    '{"state": "started", "cost": 2}'::jsonb,
    'a run is begun');
select is(
    public.begin_generation((select dina from who), 'hair_color', repeat('a', 64)),
    '{"state": "running"}'::jsonb,
    'the same run again is under way');
select is(
    (select credits from public.users where id = (select dina from who)), 10, 'nothing is charged yet');
select is(
    public.finish_generation(
        (select dina from who), 'hair_color', repeat('a', 64), '{"color_id": "copper"}',
        (select dina from who) || '/photo.jpg', repeat('b', 64), '{"path": "made.png"}') ->> 'credits_left',
    '8',
    'the finished run is charged');
select throws_like(
    $$select public.finish_generation(
        (select dina from who), 'hair_color', repeat('a', 64), '{}', (select dina from who) || '/photo.jpg', repeat('b', 64), '{}')$$,
    'NOT_RUNNING:%',
    'and finished once');
select is(
    public.begin_generation((select dina from who), 'hair_color', repeat('a', 64)) ->> 'state', 'hit', 'then it is a hit');
select throws_like(
    $$select public.begin_generation((select dina from who), 'teleport', repeat('c', 64))$$, 'TOOL_NOT_FOUND:%', 'a tool must exist');
select public.adjust_credits((select dina from who), -8);
select throws_like(
    $$select public.begin_generation((select dina from who), 'enhance', repeat('c', 64))$$,
    'INSUFFICIENT_CREDITS:%',
    'without credits nothing begins');
select tests.clear_authentication();
reset role;

select is_empty(
    $$select u.id from public.users as u
    where u.credits <> (select coalesce(sum(l.credits), 0) from public.credit_log as l where l.user_id = u.id)$$,
    'the sum of the log is the balance of everybody');
select is(
    (select count(*)::int from public.notifications where user_id = (select dina from who) and kind = 'low_credits'),
    1, 'the user is told that credits ran out');

select tests.authenticate_as('omar');
select is_empty('select id from public.generations', 'nobody sees another''s gallery');
select is_empty(
    'select id from public.credit_log where user_id = (select dina from who)', 'nor another''s ledger');
select throws_ok(
    'update public.users set credits = 1000', '42501', null, 'nobody gives themselves credits');
select throws_ok(
    $$select public.adjust_credits((select omar from who), 5)$$, '42501', null, 'not by a routine either');

select * from finish();
rollback;
