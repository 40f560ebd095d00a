-- Subscriptions: what a user has paid for by the month, and the credits that come with each month.

create table public.subscriptions (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users (id) on delete cascade,
    plan_id text not null references public.plans (id),
    status text not null default 'active'
        check (status in ('active', 'cancelled', 'expired', 'replaced', 'refunded')),
    started_at timestamptz not null default now(),
    current_period_end timestamptz not null,
    next_credits_at timestamptz,
    reminded_of timestamptz,
    cancel_at_period_end boolean not null default false,
    ended_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint subscriptions_period check (current_period_end >= started_at),
    constraint subscriptions_ended check ((status = 'active') = (ended_at is null))
);
comment on table public.subscriptions is
    'A plan that was paid for, from its first payment to its end; renewals extend it.';
comment on column public.subscriptions.plan_id is 'The plan.';
comment on column public.subscriptions.status is
    'active; cancelled or expired at the end of what was paid for; replaced by another plan; refunded.';
comment on column public.subscriptions.started_at is 'The first payment. Months are counted from here, in UTC.';
comment on column public.subscriptions.current_period_end is 'The end of what is paid for.';
comment on column public.subscriptions.next_credits_at is
    'The beginning of the next paid month; null when all have begun.';
comment on column public.subscriptions.reminded_of is 'The current_period_end that the user was last reminded of.';
comment on column public.subscriptions.cancel_at_period_end is
    'Set by cancel_subscription: it ends without a reminder.';
comment on column public.subscriptions.ended_at is 'When it was over.';

create unique index subscriptions_one_active_idx on public.subscriptions (user_id) where status = 'active';
comment on index public.subscriptions_one_active_idx is 'One active subscription for each user.';
create index subscriptions_user_id_idx on public.subscriptions (user_id, started_at desc);
create index subscriptions_plan_id_idx on public.subscriptions (plan_id);
create index subscriptions_next_credits_at_idx on public.subscriptions (next_credits_at) where status = 'active';
create index subscriptions_current_period_end_idx on public.subscriptions (current_period_end) where status = 'active';

create trigger subscriptions_touch_updated_at
before update on public.subscriptions
for each row execute function private.touch_updated_at();

alter table public.subscriptions enable row level security;

create policy "users view their own subscriptions"
on public.subscriptions for select to authenticated
using ((select auth.uid()) = user_id);

revoke all on public.subscriptions from anon, authenticated, service_role;
grant select on public.subscriptions to authenticated, service_role;

create table public.credit_purchases (
    id uuid primary key default gen_random_uuid(),
    user_id uuid references public.users (id) on delete set null,
    kind text not null check (kind in ('pack', 'plan')),
    pack_id text references public.credit_packs (id),
    plan_id text references public.plans (id),
    credits int not null check (credits >= 0),
    months int not null check (months >= 0),
    price_cents int not null check (price_cents > 0),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    merchant_order_id text not null unique check (char_length(merchant_order_id) between 1 and 100),
    paymob_order_id bigint unique,
    status text not null default 'pending' check (status in ('pending', 'paid', 'partly_refunded', 'refunded')),
    paid_at timestamptz,
    granted_at timestamptz,
    refunded_cents int not null default 0,
    credits_taken_back int not null default 0 check (credits_taken_back >= 0),
    credits_missing int not null default 0 check (credits_missing >= 0),
    subscription_id uuid references public.subscriptions (id) on delete set null,
    first_month int check (first_month >= 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint credit_purchases_of_one_thing
        check ((kind = 'pack') = (pack_id is not null) and (kind = 'plan') = (plan_id is not null)),
    constraint credit_purchases_months check ((kind = 'plan') = (months > 0)),
    constraint credit_purchases_refund_within_price check (refunded_cents between 0 and price_cents),
    constraint credit_purchases_granted_when_paid check (granted_at is null or paid_at is not null)
);
comment on table public.credit_purchases is
    'An order of a pack or a plan, with the price of that moment, and what became of it.';
comment on column public.credit_purchases.user_id is 'Who ordered; null once that account is deleted.';
comment on column public.credit_purchases.kind is 'pack or plan.';
comment on column public.credit_purchases.pack_id is 'What was ordered.';
comment on column public.credit_purchases.plan_id is 'What was ordered.';
comment on column public.credit_purchases.credits is 'Of the pack, or of each month of the plan.';
comment on column public.credit_purchases.months is 'Months that the payment covers; 0 for a pack.';
comment on column public.credit_purchases.price_cents is 'In hundredths of the currency.';
comment on column public.credit_purchases.currency is 'ISO 4217.';
comment on column public.credit_purchases.merchant_order_id is 'Our name for the order at Paymob.';
comment on column public.credit_purchases.paymob_order_id is
    'Paymob''s name for it. Its signature covers this one, so that a callback must have both.';
comment on column public.credit_purchases.status is 'pending, paid, partly_refunded or refunded.';
comment on column public.credit_purchases.paid_at is 'When the callback of a successful payment was first applied.';
comment on column public.credit_purchases.granted_at is
    'When its credits or its months were granted, once; null with paid_at where all was refunded before, or nobody '
    'was left.';
comment on column public.credit_purchases.refunded_cents is 'Paid back, or voided.';
comment on column public.credit_purchases.credits_taken_back is 'Credits that a refund took from the balance.';
comment on column public.credit_purchases.credits_missing is 'Credits that it could not take, for they were spent.';
comment on column public.credit_purchases.subscription_id is 'The subscription that it began or extended.';
comment on column public.credit_purchases.first_month is 'Which month of the subscription is its first, from 0.';

create index credit_purchases_user_id_created_at_idx on public.credit_purchases (user_id, created_at desc);
create index credit_purchases_pack_id_idx on public.credit_purchases (pack_id);
create index credit_purchases_plan_id_idx on public.credit_purchases (plan_id);
create index credit_purchases_subscription_id_idx on public.credit_purchases (subscription_id);
create unique index credit_purchases_month_once_idx on public.credit_purchases (subscription_id, first_month)
where refunded_cents < price_cents;
comment on index public.credit_purchases_month_once_idx is
    'A month of a subscription is paid for once, and so are its credits.';

create trigger credit_purchases_touch_updated_at
before update on public.credit_purchases
for each row execute function private.touch_updated_at();

alter table public.credit_purchases enable row level security;

create policy "users view their own purchases"
on public.credit_purchases for select to authenticated
using ((select auth.uid()) = user_id);

revoke all on public.credit_purchases from anon, authenticated, service_role;
grant select on public.credit_purchases to authenticated, service_role;

create function private.grant_months(p_subscription_id uuid, p_all boolean default false)
returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_subscription public.subscriptions;
begin
    select * into strict v_subscription from public.subscriptions where id = p_subscription_id;
    perform private.change_credits(
        v_subscription.user_id, p.credits, 'monthly_credits', p.id || ':' || m)
    from public.credit_purchases as p, generate_series(0, p.months - 1) as m
    where p.subscription_id = p_subscription_id and p.granted_at is not null and p.refunded_cents < p.price_cents
        and (p_all or private.month_after(v_subscription.started_at, p.first_month + m) <= now());
    update public.subscriptions
    set next_credits_at = (
        select min(private.month_after(started_at, p.first_month + m))
        from public.credit_purchases as p, generate_series(0, p.months - 1) as m
        where p.subscription_id = p_subscription_id and p.granted_at is not null and p.refunded_cents < p.price_cents
            and private.month_after(started_at, p.first_month + m) > now()
    )
    where id = p_subscription_id;
end
$$;
comment on function private.grant_months(uuid, boolean) is
    'Grants each paid month that has begun (or all that are paid for) its credits, once. The caller has locked the '
    'user''s row.';

create function private.end_subscription(p_subscription_id uuid, p_status text, p_ended_at timestamptz)
returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_user_id uuid;
begin
    update public.subscriptions
    set status = p_status,
        ended_at = p_ended_at,
        next_credits_at = null
    where id = p_subscription_id and status = 'active'
    returning user_id into v_user_id;
    if found then
        update public.users
        set plan_id = private.default_plan(),
            plan_renews_at = null
        where id = v_user_id;
    end if;
end
$$;
comment on function private.end_subscription(uuid, text, timestamptz) is
    'Ends an active subscription; the user goes back to the default plan and keeps their credits.';

create function private.advance_subscription(p_subscription_id uuid)
returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_now constant timestamptz := now();
    v_subscription public.subscriptions;
    v_plan text;
begin
    select * into v_subscription from public.subscriptions where id = p_subscription_id and status = 'active' for update;
    if not found then
        return;
    end if;
    perform private.grant_months(p_subscription_id);
    select name into v_plan from public.plans where id = v_subscription.plan_id;
    if v_subscription.current_period_end <= v_now then
        perform private.end_subscription(
            p_subscription_id, case when v_subscription.cancel_at_period_end then 'cancelled' else 'expired' end,
            v_subscription.current_period_end);
        perform private.tell(
            v_subscription.user_id, 'subscription_ended', p_subscription_id::text, v_plan || ' has ended',
            'Your credits stay. Subscribe again whenever you like.',
            jsonb_build_object('plan_id', v_subscription.plan_id));
    elsif v_subscription.current_period_end <= v_now + interval '3 days' and not v_subscription.cancel_at_period_end then
        update public.subscriptions set reminded_of = current_period_end where id = p_subscription_id;
        perform private.tell(
            v_subscription.user_id, 'renewal_due', p_subscription_id || ':' || v_subscription.current_period_end,
            v_plan || ' ends on ' || to_char(v_subscription.current_period_end at time zone 'UTC', 'FMDD FMMonth'),
            'Renew it to keep your monthly credits.',
            jsonb_build_object(
                'plan_id', v_subscription.plan_id, 'current_period_end', v_subscription.current_period_end));
    end if;
end
$$;
comment on function private.advance_subscription(uuid) is
    'What is due of one subscription: credits of months that have begun, a reminder three days before its end, its '
    'end. The '
    'caller has locked the user''s row.';

create function private.advance_subscriptions(p_limit int default 5000)
returns int
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_due record;
    v_count int := 0;
begin
    for v_due in
        select s.id, s.user_id
        from public.subscriptions as s
        where s.status = 'active' and (
            s.next_credits_at <= now()
            or s.current_period_end <= now()
            or (s.current_period_end <= now() + interval '3 days' and not s.cancel_at_period_end
                and s.reminded_of is distinct from s.current_period_end))
        order by s.user_id
        limit p_limit
    loop
        begin
            perform from public.users where id = v_due.user_id for no key update;
            perform private.advance_subscription(v_due.id);
            v_count := v_count + 1;
        exception
            when others then  -- one subscription holds up no other; the next run tries it again
                raise warning 'subscription % was not advanced: % (%)', v_due.id, sqlerrm, sqlstate;
        end;
    end loop;
    return v_count;
end
$$;
comment on function private.advance_subscriptions(int) is
    'By schedule: everything that is due, also what became due while no schedule ran. Repeating it changes nothing.';

create function private.extend_subscription(p_purchase_id uuid)
returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_purchase public.credit_purchases;
    v_subscription public.subscriptions;
    v_first_month int;
    v_plan text;
begin
    select * into strict v_purchase from public.credit_purchases where id = p_purchase_id;
    select name into v_plan from public.plans where id = v_purchase.plan_id;
    select * into v_subscription from public.subscriptions
    where user_id = v_purchase.user_id and status = 'active' for update;
    if found and v_subscription.current_period_end <= now() then  -- over, and the schedule has not come to it yet
        perform private.advance_subscription(v_subscription.id);
        v_subscription := null;
    end if;
    if v_subscription.plan_id <> v_purchase.plan_id then  -- months that are paid for are not lost
        perform private.grant_months(v_subscription.id, true);
        perform private.end_subscription(v_subscription.id, 'replaced', now());
        v_subscription := null;
    end if;
    if v_subscription.id is null then
        v_first_month := 0;
        insert into public.subscriptions (user_id, plan_id, current_period_end)
        values (v_purchase.user_id, v_purchase.plan_id, private.month_after(now(), v_purchase.months))
        returning * into v_subscription;
    else
        select max(first_month + months) into v_first_month
        from public.credit_purchases
        where subscription_id = v_subscription.id and refunded_cents < price_cents;
        update public.subscriptions
        set current_period_end = private.month_after(started_at, v_first_month + v_purchase.months),
            cancel_at_period_end = false
        where id = v_subscription.id
        returning * into v_subscription;
    end if;
    update public.credit_purchases
    set subscription_id = v_subscription.id,
        first_month = v_first_month,
        granted_at = now()
    where id = p_purchase_id;
    perform private.grant_months(v_subscription.id);
    update public.users
    set plan_id = v_subscription.plan_id,
        plan_renews_at = v_subscription.current_period_end
    where id = v_purchase.user_id;
    perform private.tell(
        v_purchase.user_id, case v_first_month when 0 then 'purchase' else 'renewal' end, p_purchase_id::text,
        v_plan || case v_first_month when 0 then ' is yours' else ' is renewed' end,
        v_purchase.credits || ' credits each month, until '
            || to_char(v_subscription.current_period_end at time zone 'UTC', 'FMDD FMMonth YYYY') || '.',
        jsonb_build_object(
            'purchase_id', p_purchase_id, 'plan_id', v_purchase.plan_id,
            'current_period_end', v_subscription.current_period_end));
end
$$;
comment on function private.extend_subscription(uuid) is
    'A paid plan: begins a subscription, extends the one of the same plan, or replaces the one of another plan, whose '
    'paid '
    'months give their credits at once. The caller has locked the user''s row.';

create function public.cancel_subscription()
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_user_id constant uuid := private.require_user();
    v_subscription public.subscriptions;
begin
    update public.subscriptions set cancel_at_period_end = true
    where user_id = v_user_id and status = 'active'
    returning * into v_subscription;
    if not found then
        perform private.fail('NO_SUBSCRIPTION', 404, 'There is no subscription');
    end if;
    return jsonb_build_object(
        'subscription_id', v_subscription.id, 'plan_id', v_subscription.plan_id,
        'cancel_at_period_end', true, 'current_period_end', v_subscription.current_period_end);
end
$$;
comment on function public.cancel_subscription() is
    'The caller''s subscription ends with what is paid for; until then nothing changes. NO_SUBSCRIPTION (404). Paying '
    'again '
    'takes it back, and so does resume_subscription.';

create function public.resume_subscription()
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_user_id constant uuid := private.require_user();
    v_subscription public.subscriptions;
begin
    update public.subscriptions set cancel_at_period_end = false
    where user_id = v_user_id and status = 'active'
    returning * into v_subscription;
    if not found then
        perform private.fail('NO_SUBSCRIPTION', 404, 'There is no subscription');
    end if;
    return jsonb_build_object(
        'subscription_id', v_subscription.id, 'plan_id', v_subscription.plan_id,
        'cancel_at_period_end', false, 'current_period_end', v_subscription.current_period_end);
end
$$;
comment on function public.resume_subscription() is
    'Takes a cancellation back, while the subscription lasts. NO_SUBSCRIPTION (404).';

revoke all on function public.cancel_subscription() from public, anon;
revoke all on function public.resume_subscription() from public, anon;
grant execute on function public.cancel_subscription() to authenticated, service_role;
grant execute on function public.resume_subscription() to authenticated, service_role;

revoke all on all routines in schema private from public;
