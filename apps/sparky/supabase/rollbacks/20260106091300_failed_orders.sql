comment on column cache.kv_store.user_id is
    'Whose result it is, under the SHA-256 of user, tool, picture and parameters; goes with the account. Null for '
    'other values.';
drop function public.fail_order(text);
alter table public.credit_purchases drop constraint credit_purchases_status_check;
update public.credit_purchases set status = 'pending' where status = 'failed';
alter table public.credit_purchases
add constraint credit_purchases_status_check check (status in ('pending', 'paid', 'partly_refunded', 'refunded'));
comment on column public.credit_purchases.status is 'pending, paid, partly_refunded or refunded.';
