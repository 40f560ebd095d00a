-- Undoes 20260106090100_plans.sql. The price list is lost.
drop table public.credit_packs;
drop table public.plans;
