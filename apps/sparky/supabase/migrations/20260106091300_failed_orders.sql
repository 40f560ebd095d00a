-- An order that Paymob did not take is over: it waits for no payment, and does not count among those that do.

alter table public.credit_purchases drop constraint credit_purchases_status_check;
alter table public.credit_purchases
add constraint credit_purchases_status_check
check (status in ('pending', 'failed', 'paid', 'partly_refunded', 'refunded'));
comment on column public.credit_purchases.status is
    'pending, paid, partly_refunded or refunded; failed: Paymob did not take it, and should it be paid nevertheless, '
    'it is paid.';

create function public.fail_order(p_merchant_order_id text)
returns void
language sql
security definer
set search_path = ''
as $$
    update public.credit_purchases
    set status = 'failed'
    where merchant_order_id = p_merchant_order_id and status = 'pending'
$$;
comment on function public.fail_order(text) is
    'Service role: nobody was told where to pay this order. A callback that says that it was paid counts all the same.';

revoke all on function public.fail_order(text) from public, anon, authenticated;
grant execute on function public.fail_order(text) to service_role;

comment on column cache.kv_store.user_id is
    'Whose result it is, under the SHA-256 of user, tool, picture, parameters and model; goes with the account. Null for '
    'other values.';
