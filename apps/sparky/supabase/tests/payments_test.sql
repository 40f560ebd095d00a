-- A purchase, in SQL: granted once, taken back once, in any order.
begin;
select plan(9);

select tests.create_supabase_user('dina');
create temporary table who as select tests.get_supabase_uid('dina') as dina;
grant select on who to authenticated, service_role;

select tests.authenticate_as('dina');
create temporary table ordered as select public.create_order('pack', 'small') as made;
select tests.clear_authentication();
reset role;
grant select on ordered to service_role;
create function pg_temp.callback(p_obj jsonb) returns jsonb
language sql
as $$
    select jsonb_build_object('type', 'TRANSACTION', 'obj', jsonb_build_object(
        'id', 1, 'success', true, 'pending', false, 'amount_cents', made -> 'amount_cents', 'currency', made -> 'currency',
        'has_parent_transaction', false, 'order', jsonb_build_object('id', 77, 'merchant_order_id', made -> 'merchant_order_id')
    ) || p_obj)
    from ordered
$$;

select tests.authenticate_as_service_role();
select is(
    public.apply_paymob_callback(pg_temp.callback('{}')) ->> 'outcome', 'order_mismatch',
    'an order that never reached Paymob cannot be paid');
select public.attach_paymob_order((select made ->> 'merchant_order_id' from ordered), 77);
select is(
    public.apply_paymob_callback(pg_temp.callback('{"success": false}')) ->> 'outcome', 'declined', 'a declined card');
select is(
    public.apply_paymob_callback(pg_temp.callback('{"amount_cents": 1}')) ->> 'outcome', 'amount_mismatch', 'another amount');
select is(public.apply_paymob_callback(pg_temp.callback('{}')) ->> 'outcome', 'granted', 'a payment');
select is(public.apply_paymob_callback(pg_temp.callback('{}')) ->> 'outcome', 'repeated', 'the same payment again');
select is(
    (select credits from public.users where id = (select dina from who)), 30, 'is granted once');
select is(
    public.apply_paymob_callback(pg_temp.callback('{"id": 2, "has_parent_transaction": true, "is_refund": true}')) ->> 'outcome',
    'taken_back', 'a refund');
select public.apply_paymob_callback(pg_temp.callback('{"is_refunded": true}'));
select is(
    (select credits from public.users where id = (select dina from who)), 10, 'told twice, takes the credits back once');
select is(
    (select status from public.credit_purchases where user_id = (select dina from who)), 'refunded', 'and the books say so');

select * from finish();
rollback;
