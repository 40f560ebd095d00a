-- Undoes 20260106090800_payments.sql. Paymob's callbacks are lost: keep a dump. Purchases and credits stay.
drop function public.apply_paymob_callback(jsonb);
drop function private.settle_purchase(uuid);
drop function public.attach_paymob_order(text, bigint);
drop function public.create_order(text, text);
drop table public.payments;
