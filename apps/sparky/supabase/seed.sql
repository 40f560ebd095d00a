-- Development data: accounts to sign in with. Password of every account: sparky-demo
--     demo@sparky.example     subscribed to Plus two months ago and has renewed it twice, bought a pack, and spent some credits
--     new@sparky.example      has just signed up

create temporary table seed_people as
select md5(name)::uuid as id, name || '@sparky.example' as email, display_name,
    extensions.crypt('sparky-demo', extensions.gen_salt('bf', 10)) as hash
from (values ('demo', 'Dina Demo'), ('new', 'Nadia Newcomer')) as people (name, display_name);

insert into auth.users (
    instance_id, id, aud, role, email, encrypted_password, email_confirmed_at, raw_app_meta_data, raw_user_meta_data,
    created_at, updated_at
)
select
    '00000000-0000-0000-0000-000000000000', id, 'authenticated', 'authenticated', email, hash, now(),
    '{"provider": "email", "providers": ["email"]}', jsonb_build_object('display_name', display_name), now(), now()
from seed_people
on conflict (id) do nothing;

create temporary table seed_orders as
select n, md5('order-' || n)::uuid as id, kind, item, 700000 + n as paymob_order_id, 900000 + n as transaction_id
from (values (1, 'plan', 'plus'), (2, 'plan', 'plus'), (3, 'plan', 'plus'), (4, 'pack', 'small')) as orders (n, kind, item);

insert into public.credit_purchases
    (id, user_id, kind, pack_id, plan_id, credits, months, price_cents, currency, merchant_order_id, paymob_order_id)
select
    o.id, md5('demo')::uuid, o.kind, pack.id, plan.id, coalesce(pack.credits, plan.credits_per_month),
    coalesce(plan.period_months, 0), coalesce(pack.price_cents, plan.price_cents), coalesce(pack.currency, plan.currency),
    'sparky-' || o.id, o.paymob_order_id
from seed_orders as o
left join public.credit_packs as pack on o.kind = 'pack' and pack.id = o.item
left join public.plans as plan on o.kind = 'plan' and plan.id = o.item;

select public.apply_paymob_callback(jsonb_build_object(
    'type', 'TRANSACTION',
    'obj', jsonb_build_object(
        'id', o.transaction_id, 'success', true, 'pending', false, 'amount_cents', p.price_cents, 'currency', p.currency,
        'has_parent_transaction', false, 'is_refunded', false, 'is_voided', false, 'error_occured', false,
        'order', jsonb_build_object('id', o.paymob_order_id, 'merchant_order_id', p.merchant_order_id))))
from seed_orders as o join public.credit_purchases as p using (id)
order by o.n;

-- The first payment was two months ago: the three paid months have begun.
update public.subscriptions
set started_at = private.month_after(now(), -2) - interval '1 day',
    current_period_end = private.month_after(private.month_after(now(), -2) - interval '1 day', 3),
    next_credits_at = now()
where user_id = md5('demo')::uuid;
update public.users
set plan_renews_at = (select current_period_end from public.subscriptions where user_id = md5('demo')::uuid)
where id = md5('demo')::uuid;
select private.advance_subscriptions();

select public.adjust_credits(md5('demo')::uuid, -37, 'adjustment', 'seed');

drop table seed_orders;
drop table seed_people;
