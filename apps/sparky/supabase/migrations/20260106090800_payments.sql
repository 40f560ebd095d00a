-- Orders and Paymob's callbacks. A callback may come late, twice, out of order or many at once: what it says is written down
-- first, and what a purchase has earned or lost follows from everything written down so far.

create table public.payments (
    id uuid primary key default gen_random_uuid(),
    user_id uuid references public.users (id) on delete set null,
    purchase_id uuid references public.credit_purchases (id),
    merchant_order_id text not null,
    paymob_order_id bigint not null,
    transaction_id bigint not null,
    kind text not null check (kind in ('payment', 'refund', 'void', 'other')),
    success boolean not null,
    pending boolean not null,
    amount_cents int not null check (amount_cents >= 0),
    currency text not null,
    reversed_cents int not null default 0 check (reversed_cents >= 0),
    outcome text not null check (
        outcome in (
            'granted', 'taken_back', 'repeated', 'paid_twice', 'pending', 'declined', 'amount_mismatch', 'order_mismatch',
            'unknown_order', 'no_user', 'ignored')),
    callback jsonb not null,
    callback_key text not null,
    delivery_count int not null default 1 check (delivery_count > 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint payments_once unique nulls not distinct (transaction_id, purchase_id, callback_key)
);
comment on table public.payments is
    'What Paymob told of transactions: each state of each transaction once, with the whole callback.';
comment on column public.payments.user_id is 'Whose order it is about.';
comment on column public.payments.purchase_id is 'The order; null where there is none of that name.';
comment on column public.payments.merchant_order_id is 'As the callback says.';
comment on column public.payments.paymob_order_id is 'As the callback says.';
comment on column public.payments.transaction_id is 'Paymob''s; a refund is a transaction of its own.';
comment on column public.payments.kind is 'payment, refund, void or other.';
comment on column public.payments.success is 'As the callback says.';
comment on column public.payments.pending is 'As the callback says; such a callback is followed by another one.';
comment on column public.payments.amount_cents is 'As the callback says.';
comment on column public.payments.currency is 'As the callback says.';
comment on column public.payments.reversed_cents is 'What this transaction paid back, or had paid back of it in all.';
comment on column public.payments.outcome is
    'granted, taken_back, repeated; pending, declined; paid_twice: another payment of a paid order, to be paid back by the '
    'operator; amount_mismatch, order_mismatch, unknown_order: not what was ordered; no_user: the account is gone; ignored.';
comment on column public.payments.callback is 'The whole callback, as it came first, or with the last part of a refund. Clients cannot read it.';
comment on column public.payments.callback_key is
    'The signed fields and the kind: a callback that says the same again has the same.';
comment on column public.payments.delivery_count is 'How often it came.';

create index payments_purchase_id_idx on public.payments (purchase_id);
create index payments_user_id_created_at_idx on public.payments (user_id, created_at desc);

create trigger payments_touch_updated_at
before update on public.payments
for each row execute function private.touch_updated_at();

alter table public.payments enable row level security;

create policy "users view their own payments"
on public.payments for select to authenticated
using ((select auth.uid()) = user_id);

revoke all on public.payments from anon, authenticated, service_role;
grant select (
    id, user_id, purchase_id, merchant_order_id, transaction_id, kind, success, pending, amount_cents, currency,
    reversed_cents, outcome, created_at, updated_at
) on public.payments to authenticated;
grant select on public.payments to service_role;

create function public.create_order(p_kind text, p_item_id text)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_user_id constant uuid := private.require_user();
    v_id constant uuid := gen_random_uuid();
    v_purchase public.credit_purchases;
    v_name text;
begin
    if p_kind is null or p_kind not in ('pack', 'plan') then
        perform private.fail(
            'VALIDATION_ERROR', 400, 'An order is of a pack or a plan', jsonb_build_object('kind', p_kind));
    end if;
    if (
        select count(*) from public.credit_purchases
        where user_id = v_user_id and status = 'pending' and created_at > now() - interval '1 hour'
    ) >= 20 then
        perform private.fail('TOO_MANY_ORDERS', 429, 'Too many orders wait for payment; try again later');
    end if;
    if p_kind = 'pack' then
        insert into public.credit_purchases
            (id, user_id, kind, pack_id, credits, months, price_cents, currency, merchant_order_id)
        select v_id, v_user_id, 'pack', id, credits, 0, price_cents, currency, 'sparky-' || v_id
        from public.credit_packs
        where id = p_item_id and is_active
        returning * into v_purchase;
        select name into v_name from public.credit_packs where id = p_item_id;
    else
        insert into public.credit_purchases
            (id, user_id, kind, plan_id, credits, months, price_cents, currency, merchant_order_id)
        select v_id, v_user_id, 'plan', id, credits_per_month, period_months, price_cents, currency, 'sparky-' || v_id
        from public.plans
        where id = p_item_id and is_active and price_cents > 0
        returning * into v_purchase;
        select name into v_name from public.plans where id = p_item_id;
    end if;
    if v_purchase.id is null then
        perform private.fail(
            'ITEM_NOT_FOUND', 404, 'That is not for sale', jsonb_build_object('kind', p_kind, 'item_id', p_item_id));
    end if;
    return jsonb_build_object(
        'purchase_id', v_purchase.id,
        'merchant_order_id', v_purchase.merchant_order_id,
        'kind', p_kind,
        'item_id', p_item_id,
        'name', v_name,
        'amount_cents', v_purchase.price_cents,
        'currency', v_purchase.currency
    );
end
$$;
comment on function public.create_order(text, text) is
    'The caller orders a pack or a plan at today''s price; create-payment takes it to Paymob. ITEM_NOT_FOUND (404), '
    'TOO_MANY_ORDERS (429) with 20 unpaid ones in an hour.';

create function public.attach_paymob_order(p_merchant_order_id text, p_paymob_order_id bigint)
returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.credit_purchases
    set paymob_order_id = p_paymob_order_id
    where merchant_order_id = p_merchant_order_id
        and (paymob_order_id is null or paymob_order_id = p_paymob_order_id);
    if not found then
        perform private.fail(
            'ORDER_NOT_FOUND', 404, 'There is no such order, or it has another order at Paymob',
            jsonb_build_object('merchant_order_id', p_merchant_order_id, 'paymob_order_id', p_paymob_order_id));
    end if;
end
$$;
comment on function public.attach_paymob_order(text, bigint) is
    'Service role: which order at Paymob is ours. Before a user can pay; only its callbacks count then. '
    'ORDER_NOT_FOUND (404).';

create function private.settle_purchase(p_purchase_id uuid)
returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_purchase public.credit_purchases;
    v_balance int;
    v_granted int;
    v_due int;
    v_taken int;
    v_end timestamptz;
begin
    select * into strict v_purchase from public.credit_purchases where id = p_purchase_id;
    if v_purchase.user_id is null then
        return;
    end if;
    if v_purchase.paid_at is not null and v_purchase.granted_at is null
        and v_purchase.refunded_cents < v_purchase.price_cents then
        if v_purchase.kind = 'plan' then
            perform private.extend_subscription(p_purchase_id);
        else
            perform private.change_credits(v_purchase.user_id, v_purchase.credits, 'purchase', p_purchase_id::text);
            update public.credit_purchases set granted_at = now() where id = p_purchase_id;
            perform private.tell(
                v_purchase.user_id, 'purchase', p_purchase_id::text, v_purchase.credits || ' credits added',
                'Thank you for your purchase.',
                jsonb_build_object('purchase_id', p_purchase_id, 'credits', v_purchase.credits));
        end if;
    end if;

    -- The part of the credits that is the part of the price that was paid back.
    select coalesce(sum(credits), 0) into v_granted
    from public.credit_log
    where user_id = v_purchase.user_id and (
        (reason = 'purchase' and source_id = p_purchase_id::text)
        or (reason = 'monthly_credits' and source_id = any (
            select p_purchase_id || ':' || m from generate_series(0, v_purchase.months - 1) as m)));
    v_due := floor(v_granted::numeric * v_purchase.refunded_cents / v_purchase.price_cents)
        - v_purchase.credits_taken_back - v_purchase.credits_missing;
    if v_due > 0 then
        select credits into v_balance from public.users where id = v_purchase.user_id;
        v_taken := least(v_due, v_balance);
        perform private.change_credits(
            v_purchase.user_id, -v_taken, 'refund', p_purchase_id || ':' || v_purchase.refunded_cents);
        update public.credit_purchases
        set credits_taken_back = credits_taken_back + v_taken,
            credits_missing = credits_missing + v_due - v_taken
        where id = p_purchase_id;
        perform private.tell(
            v_purchase.user_id, 'refund', p_purchase_id || ':' || v_purchase.refunded_cents, 'Your money is on its way back',
            v_taken || ' credits were taken back.',
            jsonb_build_object('purchase_id', p_purchase_id, 'credits', v_taken));
    end if;

    -- Months that were paid back are not covered any more.
    if v_purchase.refunded_cents = v_purchase.price_cents and v_purchase.subscription_id is not null then
        select private.month_after(s.started_at, max(p.first_month + p.months)) into v_end
        from public.subscriptions as s
        join public.credit_purchases as p on p.subscription_id = s.id and p.refunded_cents < p.price_cents
        where s.id = v_purchase.subscription_id
        group by s.started_at;
        if v_end is null then
            perform private.end_subscription(v_purchase.subscription_id, 'refunded', now());
        else
            update public.subscriptions set current_period_end = v_end
            where id = v_purchase.subscription_id and status = 'active';
            if found then
                update public.users set plan_renews_at = v_end where id = v_purchase.user_id;
                perform private.grant_months(v_purchase.subscription_id);
            end if;
        end if;
    end if;
end
$$;
comment on function private.settle_purchase(uuid) is
    'Grants what is paid for and takes back what was paid back, as far as the balance goes. The same again changes '
    'nothing. The '
    'caller has locked the user''s row and the purchase.';

create function public.apply_paymob_callback(p_callback jsonb)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_obj constant jsonb := p_callback -> 'obj';
    v_transaction_id bigint;
    v_paymob_order_id bigint;
    v_merchant_order_id text;
    v_amount_cents int;
    v_success boolean;
    v_is_child boolean;
    v_kind text;
    v_reversed_cents int := 0;
    v_outcome text;
    v_key text;
    v_purchase public.credit_purchases;
    v_payment_id uuid;
begin
    if p_callback ->> 'type' is distinct from 'TRANSACTION' or jsonb_typeof(v_obj) is distinct from 'object'
        or jsonb_typeof(v_obj -> 'id') is distinct from 'number'
        or jsonb_typeof(v_obj #> '{order,id}') is distinct from 'number'
        or jsonb_typeof(v_obj -> 'amount_cents') is distinct from 'number'
        or jsonb_typeof(v_obj -> 'success') is distinct from 'boolean'
        or jsonb_typeof(v_obj -> 'pending') is distinct from 'boolean' then
        perform private.fail('VALIDATION_ERROR', 400, 'This is no callback of a transaction');
    end if;
    v_transaction_id := (v_obj ->> 'id')::bigint;
    v_paymob_order_id := (v_obj #>> '{order,id}')::bigint;
    v_merchant_order_id := left(coalesce(v_obj #>> '{order,merchant_order_id}', ''), 200);
    v_amount_cents := (v_obj ->> 'amount_cents')::int;
    v_success := v_obj -> 'success' = 'true' and v_obj -> 'pending' = 'false';
    v_is_child := coalesce(v_obj -> 'has_parent_transaction' = 'true', false);
    -- The signature covers has_parent_transaction, not is_refund and is_void: only a child can be a refund, and no child
    -- is a payment but a capture.
    v_kind := case
        when v_is_child and v_obj -> 'is_void' = 'true' then 'void'
        when v_is_child and v_obj -> 'is_refund' = 'true' then 'refund'
        when v_is_child and v_obj -> 'is_capture' is distinct from 'true' then 'other'
        else 'payment'
    end;

    -- The order of locks is everywhere: the user, then the purchase.
    select * into v_purchase from public.credit_purchases where merchant_order_id = v_merchant_order_id;
    perform from public.users where id = v_purchase.user_id for no key update;
    select * into v_purchase from public.credit_purchases where id = v_purchase.id for update;

    if v_success and v_kind in ('refund', 'void') then
        v_reversed_cents := v_amount_cents;
    elsif v_success and v_kind = 'payment' and v_obj -> 'is_voided' = 'true' then
        v_reversed_cents := v_amount_cents;
    elsif v_success and v_kind = 'payment' and v_obj -> 'is_refunded' = 'true' then
        v_reversed_cents := least(
            coalesce(nullif((v_obj ->> 'refunded_amount_cents')::bigint, 0), v_amount_cents), v_amount_cents);
    end if;

    v_outcome := case
        when v_purchase.id is null then 'unknown_order'
        when v_purchase.paymob_order_id is distinct from v_paymob_order_id then 'order_mismatch'
        when v_obj ->> 'currency' is distinct from v_purchase.currency
            or v_amount_cents > v_purchase.price_cents
            or (v_kind = 'payment' and v_amount_cents <> v_purchase.price_cents) then 'amount_mismatch'
        when v_kind = 'other' then 'ignored'
        when v_obj -> 'pending' = 'true' then 'pending'
        when not v_success or v_obj -> 'error_occured' = 'true' then 'declined'
        when v_kind = 'payment' and v_obj -> 'is_auth' = 'true' then 'pending'  -- authorised, and not captured
        when v_purchase.user_id is null then 'no_user'
        when v_kind = 'payment' and v_reversed_cents = 0 and v_purchase.paid_at is not null then
            case
                when exists (
                    select from public.payments
                    where purchase_id = v_purchase.id and kind = 'payment' and outcome in ('granted', 'taken_back')
                        and transaction_id <> v_transaction_id)
                    and not exists (
                        select from public.payments
                        where purchase_id = v_purchase.id and kind = 'payment' and outcome in ('granted', 'taken_back')
                            and transaction_id = v_transaction_id)
                then 'paid_twice'
                else 'repeated'
            end
        when v_reversed_cents > 0 then 'taken_back'
        else 'granted'
    end;
    if v_outcome not in ('taken_back', 'no_user') then
        v_reversed_cents := 0;
    end if;

    v_key := encode(sha256(convert_to(jsonb_build_array(
        v_kind, v_obj -> 'amount_cents', v_obj -> 'created_at', v_obj -> 'currency', v_obj -> 'error_occured',
        v_obj -> 'has_parent_transaction', v_obj -> 'id', v_obj -> 'integration_id', v_obj -> 'is_3d_secure',
        v_obj -> 'is_auth', v_obj -> 'is_capture', v_obj -> 'is_refunded', v_obj -> 'is_standalone_payment', v_obj -> 'is_voided',
        v_obj #> '{order,id}', v_obj -> 'owner', v_obj -> 'pending', v_obj #> '{source_data,pan}',
        v_obj #> '{source_data,sub_type}', v_obj #> '{source_data,type}', v_obj -> 'success')::text, 'UTF8')), 'hex');
    insert into public.payments as p
        (user_id, purchase_id, merchant_order_id, paymob_order_id, transaction_id, kind, success, pending, amount_cents,
        currency, reversed_cents, outcome, callback, callback_key)
    values (
        v_purchase.user_id, v_purchase.id, v_merchant_order_id, v_paymob_order_id, v_transaction_id, v_kind,
        (v_obj ->> 'success')::boolean, (v_obj ->> 'pending')::boolean, v_amount_cents,
        left(coalesce(v_obj ->> 'currency', ''), 10), v_reversed_cents, v_outcome, p_callback, v_key)
    on conflict on constraint payments_once do update
    set delivery_count = p.delivery_count + 1,
        reversed_cents = greatest(p.reversed_cents, excluded.reversed_cents),
        -- Buyers see signatures of their payments and could send other unsigned fields along: they change no books.
        callback = case when excluded.reversed_cents > p.reversed_cents then excluded.callback else p.callback end,
        outcome = case excluded.outcome when 'repeated' then p.outcome else excluded.outcome end
    returning p.id into v_payment_id;

    if v_outcome in ('granted', 'taken_back', 'paid_twice', 'no_user') then
        update public.credit_purchases as c
        set paid_at = case when v_kind = 'payment' then coalesce(c.paid_at, now()) else c.paid_at end,
            refunded_cents = greatest(
                case when c.granted_at is null then 0 else c.refunded_cents end,
                least(
                    c.price_cents,
                    case money.paid when 0 then money.back else c.price_cents - (money.paid - money.back) end))
        from (
            -- Paymob tells of a refund twice: by the payment's own state, and by a transaction of its own. Of an order that
            -- was paid twice one payment may go back, and the purchase stands.
            select
                coalesce(sum(t.amount_cents), 0) as paid,
                greatest(
                    coalesce(sum(t.reversed_cents) filter (where t.is_payment), 0),
                    coalesce(sum(t.reversed_cents) filter (where not t.is_payment), 0)) as back
            from (
                select kind = 'payment' as is_payment, max(reversed_cents) as reversed_cents,
                    max(amount_cents) filter (
                        where kind = 'payment' and outcome in ('granted', 'taken_back', 'paid_twice', 'no_user')) as amount_cents
                from public.payments
                where purchase_id = v_purchase.id
                group by transaction_id, kind = 'payment'
            ) as t
        ) as money
        where c.id = v_purchase.id;
        perform private.settle_purchase(v_purchase.id);
        update public.credit_purchases
        set status = case
            when refunded_cents = price_cents then 'refunded'
            when paid_at is null then 'pending'
            when refunded_cents > 0 then 'partly_refunded'
            else 'paid'
        end
        where id = v_purchase.id
        returning * into v_purchase;
        if v_outcome = 'granted' and v_purchase.granted_at is null then  -- all was paid back before
            v_outcome := 'taken_back';
            update public.payments set outcome = v_outcome where id = v_payment_id;
        end if;
    end if;
    return jsonb_build_object(
        'outcome', v_outcome, 'payment_id', v_payment_id, 'purchase_id', v_purchase.id, 'status', v_purchase.status);
end
$$;
comment on function public.apply_paymob_callback(jsonb) is
    'Service role: one callback whose signature was checked, {"type": "TRANSACTION", "obj": {…}}. Writes it down and '
    'grants or takes '
    'back what follows, exactly once however often and in whatever order callbacks come. Answers {"outcome", '
    '"payment_id", '
    '"purchase_id", "status"}.';

revoke all on function public.create_order(text, text) from public, anon;
revoke all on function public.attach_paymob_order(text, bigint) from public, anon, authenticated;
revoke all on function public.apply_paymob_callback(jsonb) from public, anon, authenticated;
grant execute on function public.create_order(text, text) to authenticated, service_role;
grant execute on function public.attach_paymob_order(text, bigint) to service_role;
grant execute on function public.apply_paymob_callback(jsonb) to service_role;

revoke all on all routines in schema private from public;
