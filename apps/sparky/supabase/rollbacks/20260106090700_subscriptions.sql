-- Undoes 20260106090700_subscriptions.sql. Orders and subscriptions are lost: keep a dump. Credits stay.
drop function public.resume_subscription();
drop function public.cancel_subscription();
drop function private.extend_subscription(uuid);
drop function private.advance_subscriptions(int);
drop function private.advance_subscription(uuid);
drop function private.end_subscription(uuid, text, timestamptz);
drop function private.grant_months(uuid, boolean);
drop table public.credit_purchases;
drop table public.subscriptions;
update public.users set plan_id = private.default_plan(), plan_renews_at = null;
