-- The gallery's other end: owners delete what they made, and pictures that nothing refers to are found.

-- What was spent stays told when the picture is gone.
alter table public.credit_usage alter column generation_id drop not null;
alter table public.credit_usage drop constraint credit_usage_generation_id_fkey;
alter table public.credit_usage
add constraint credit_usage_generation_id_fkey
foreign key (generation_id) references public.generations (id) on delete set null;
comment on column public.credit_usage.generation_id is 'What it was spent on; null when its owner has deleted that.';

create unique index generations_result_path_idx on public.generations (result_path);

create policy "users delete their own generations"
on public.generations for delete to authenticated
using ((select auth.uid()) = user_id);
grant delete on public.generations to authenticated;

create function private.forget_generation()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    delete from cache.kv_store where user_id = old.user_id and value ->> 'generation_id' = old.id::text;
    return null;
end
$$;
comment on function private.forget_generation() is
    'After delete of a generation: the cache must not answer a picture that is gone. The same request is then a new run.';

create trigger generations_forget
after delete on public.generations
for each row execute function private.forget_generation();

-- An hour is far longer than a run may take: what is younger may be about to enter the gallery.
create function public.list_orphaned_generations(p_limit int default 500)
returns setof text
language sql
stable
security definer
set search_path = ''
as $$
    select o.name
    from storage.objects as o
    where o.bucket_id = 'generations'
        and o.created_at < now() - interval '1 hour'
        and not exists (select from public.generations as g where g.result_path = o.name)
    order by o.created_at
    limit p_limit
$$;
comment on function public.list_orphaned_generations(int) is
    'Service role: pictures in the bucket generations that are older than an hour and in nobody''s gallery; sweep-generations '
    'removes them.';

revoke all on function public.list_orphaned_generations(int) from public, anon, authenticated;
grant execute on function public.list_orphaned_generations(int) to service_role;
revoke all on all routines in schema private from public;
