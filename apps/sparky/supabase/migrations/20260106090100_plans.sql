-- What is sold: plans by the month or the year, and packs of credits. The first rows are part of the product.

create table public.plans (
    id text primary key check (id ~ '^[a-z][a-z0-9_]{0,49}$'),
    name text not null check (char_length(name) between 1 and 100),
    description text not null default '' check (char_length(description) <= 2000),
    price_cents int not null check (price_cents >= 0),
    currency text not null default 'EGP' check (currency ~ '^[A-Z]{3}$'),
    period_months int not null default 1 check (period_months between 1 and 36),
    credits_per_month int not null default 0 check (credits_per_month between 0 and 1000000),
    start_credits int not null default 0 check (start_credits between 0 and 1000000),
    features jsonb not null default '[]' check (jsonb_typeof(features) = 'array'),
    is_default boolean not null default false,
    is_active boolean not null default true,
    sort_order int not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint plans_default_is_free check (not is_default or (price_cents = 0 and is_active))
);
comment on table public.plans is
    'What a user can subscribe to. The default plan costs nothing and is everybody''s without a subscription.';
comment on column public.plans.id is 'A lower-case word.';
comment on column public.plans.name is 'Its name for people.';
comment on column public.plans.description is 'A sentence for the price list.';
comment on column public.plans.price_cents is
    'Of one payment, which covers period_months, in hundredths of the currency.';
comment on column public.plans.currency is 'ISO 4217.';
comment on column public.plans.period_months is 'Months that one payment covers: 1, or 12 for a year.';
comment on column public.plans.credits_per_month is 'Granted at the beginning of each month that is paid for.';
comment on column public.plans.start_credits is 'Granted once, to a new account whose plan this is.';
comment on column public.plans.features is 'What the price list says, in order.';
comment on column public.plans.is_default is 'The plan of accounts without a subscription; there is one.';
comment on column public.plans.is_active is
    'Whether it is sold. Subscriptions to a plan that is not any more go on and end.';
comment on column public.plans.sort_order is 'Place in the price list.';

create unique index plans_default_idx on public.plans (is_default) where is_default;
comment on index public.plans_default_idx is 'One default plan.';

create table public.credit_packs (
    id text primary key check (id ~ '^[a-z][a-z0-9_]{0,49}$'),
    name text not null check (char_length(name) between 1 and 100),
    credits int not null check (credits between 1 and 1000000),
    price_cents int not null check (price_cents > 0),
    currency text not null default 'EGP' check (currency ~ '^[A-Z]{3}$'),
    is_active boolean not null default true,
    sort_order int not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table public.credit_packs is 'Credits that are bought once and do not expire.';
comment on column public.credit_packs.id is 'A lower-case word.';
comment on column public.credit_packs.name is 'Its name for people.';
comment on column public.credit_packs.credits is 'How many.';
comment on column public.credit_packs.price_cents is 'In hundredths of the currency.';
comment on column public.credit_packs.currency is 'ISO 4217.';
comment on column public.credit_packs.is_active is 'Whether it is sold.';
comment on column public.credit_packs.sort_order is 'Place in the price list.';

create trigger plans_touch_updated_at
before update on public.plans
for each row execute function private.touch_updated_at();

create trigger credit_packs_touch_updated_at
before update on public.credit_packs
for each row execute function private.touch_updated_at();

alter table public.plans enable row level security;
alter table public.credit_packs enable row level security;

-- Also what is switched off: Realtime tells nobody of a row that they may not see, and clients shall hear of the switch.
create policy "anyone views plans"
on public.plans for select to anon, authenticated
using (true);

create policy "anyone views credit packs"
on public.credit_packs for select to anon, authenticated
using (true);

revoke all on public.plans, public.credit_packs from anon, authenticated, service_role;
grant select on public.plans, public.credit_packs to anon, authenticated;
grant select, insert, update, delete on public.plans, public.credit_packs to service_role;

insert into public.plans
    (id, name, description, price_cents, period_months, credits_per_month, start_credits, features, is_default, sort_order)
values
    ('free', 'Free', 'To try it out', 0, 1, 0, 10, '["10 credits to start with", "Every tool"]', true, 0),
    ('plus', 'Plus', 'For a new look now and then', 14900, 1, 100, 0, '["100 credits each month", "Every tool"]', false, 1),
    ('pro', 'Pro', 'For salons and creators', 39900, 1, 400, 0, '["400 credits each month", "Every tool"]', false, 2),
    ('pro_yearly', 'Pro, by the year', 'Twelve months for the price of ten', 399000, 12, 400, 0,
        '["400 credits each month", "Every tool", "Two months free"]', false, 3);

insert into public.credit_packs (id, name, credits, price_cents, sort_order)
values
    ('small', '20 credits', 20, 4900, 0),
    ('medium', '60 credits', 60, 12900, 1),
    ('large', '200 credits', 200, 37900, 2);
