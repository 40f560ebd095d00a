-- Undoes 20260106090600_generations.sql. The gallery and the cached results are lost; what was charged stays charged.
-- cache.kv_store stays: it holds other values too.
drop function public.fail_generation(uuid, text, text);
drop function public.finish_generation(uuid, text, text, jsonb, text, text, jsonb, text, text);
drop function public.begin_generation(uuid, text, text, int);
drop table public.credit_usage;
drop table public.generations;
drop table private.leases;
delete from cache.kv_store where user_id is not null;
alter table cache.kv_store drop column user_id;
