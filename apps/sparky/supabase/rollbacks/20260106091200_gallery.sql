drop function public.list_orphaned_generations(int);
drop trigger generations_forget on public.generations;
drop function private.forget_generation();
revoke delete on public.generations from authenticated;
drop policy "users delete their own generations" on public.generations;
drop index public.generations_result_path_idx;
delete from public.credit_usage where generation_id is null;
alter table public.credit_usage drop constraint credit_usage_generation_id_fkey;
alter table public.credit_usage
add constraint credit_usage_generation_id_fkey
foreign key (generation_id) references public.generations (id) on delete cascade;
alter table public.credit_usage alter column generation_id set not null;
comment on column public.credit_usage.generation_id is null;
