-- A run of a tool: begun with a lease, finished in one transaction, remembered for a day.

-- Basalt brings the table, for any project's values; elsewhere it is made here.
create schema if not exists cache;
create table if not exists cache.kv_store (
    key text primary key,
    value jsonb not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz
);
create index if not exists kv_store_expires_at_idx on cache.kv_store (expires_at);
alter table cache.kv_store enable row level security;
grant usage on schema cache to service_role;
grant select, insert, update, delete on cache.kv_store to service_role;

alter table cache.kv_store add column user_id uuid references public.users (id) on delete cascade;
comment on column cache.kv_store.user_id is
    'Whose result it is, under the SHA-256 of user, tool, picture and parameters; goes with the account. Null for '
    'other values.';
create index kv_store_user_id_idx on cache.kv_store (user_id) where user_id is not null;

create table private.leases (
    user_id uuid not null references public.users (id) on delete cascade,
    key text not null check (char_length(key) between 1 and 200),
    tool_id text not null references public.tools (id) on delete cascade,
    cost int not null check (cost >= 0),
    state text not null default 'running' check (state in ('running', 'failed')),
    reason text check (char_length(reason) <= 2000),
    lease_until timestamptz not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (user_id, key)
);
comment on table private.leases is
    'Runs under way, one for each request; a failed one stays until the purge, for whoever asks why.';
comment on column private.leases.key is 'As in cache.kv_store.';
comment on column private.leases.cost is
    'Credits that the run costs, fixed when it began and kept free for it until lease_until.';
comment on column private.leases.state is 'running or failed.';
comment on column private.leases.reason is 'Why it failed.';
comment on column private.leases.lease_until is 'From then on another call may take the run over.';

create index leases_tool_id_idx on private.leases (tool_id);
create index leases_lease_until_idx on private.leases (lease_until);

create table public.generations (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users (id) on delete cascade,
    tool_id text not null references public.tools (id),
    parameters jsonb not null default '{}' check (jsonb_typeof(parameters) = 'object'),
    source_path text not null,
    source_sha256 text not null check (source_sha256 ~ '^[0-9a-f]{64}$'),
    result jsonb not null default '{}' check (jsonb_typeof(result) = 'object'),
    result_path text,
    model text check (char_length(model) <= 200),
    credits int not null check (credits >= 0),
    is_favourite boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint generations_from_own_folder check (split_part(source_path, '/', 1) = user_id::text),
    constraint generations_into_own_folder check (split_part(result_path, '/', 1) = user_id::text)
);
comment on table public.generations is 'The gallery: what every finished run made.';
comment on column public.generations.parameters is 'toolParameters of the request.';
comment on column public.generations.source_path is 'The original in the bucket user_uploads, in the user''s folder.';
comment on column public.generations.source_sha256 is 'Of the original''s bytes, in hexadecimal digits.';
comment on column public.generations.result is 'What the function answered.';
comment on column public.generations.result_path is
    'The picture in the bucket generations, in the user''s folder; null for an analysis.';
comment on column public.generations.model is 'What made it.';
comment on column public.generations.credits is 'What it cost.';
comment on column public.generations.is_favourite is 'The one column that its owner writes.';

create index generations_user_id_created_at_idx on public.generations (user_id, created_at desc);
create index generations_tool_id_idx on public.generations (tool_id);

create table public.credit_usage (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users (id) on delete cascade,
    tool_id text not null references public.tools (id),
    generation_id uuid not null unique references public.generations (id) on delete cascade,
    credits int not null check (credits >= 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table public.credit_usage is 'What credits were spent on: one row for each generation.';
comment on column public.credit_usage.credits is 'What it cost.';

create index credit_usage_user_id_created_at_idx on public.credit_usage (user_id, created_at desc);
create index credit_usage_tool_id_idx on public.credit_usage (tool_id);

create trigger leases_touch_updated_at
before update on private.leases
for each row execute function private.touch_updated_at();

create trigger generations_touch_updated_at
before update on public.generations
for each row execute function private.touch_updated_at();

create trigger credit_usage_touch_updated_at
before update on public.credit_usage
for each row execute function private.touch_updated_at();

alter table private.leases enable row level security;
alter table public.generations enable row level security;
alter table public.credit_usage enable row level security;

create policy "users view their own generations"
on public.generations for select to authenticated
using ((select auth.uid()) = user_id);

create policy "users mark their own favourites"
on public.generations for update to authenticated
using ((select auth.uid()) = user_id)
with check ((select auth.uid()) = user_id);

create policy "users view what they spent"
on public.credit_usage for select to authenticated
using ((select auth.uid()) = user_id);

revoke all on private.leases from anon, authenticated, service_role;
grant select on private.leases to service_role;
revoke all on public.generations, public.credit_usage from anon, authenticated, service_role;
grant select on public.generations, public.credit_usage to authenticated, service_role;
grant update (is_favourite) on public.generations to authenticated;

create function public.begin_generation(
    p_user_id uuid,
    p_tool_id text,
    p_cache_key text,
    p_lease_s int default 120
)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_tool public.tools;
    v_credits int;
    v_reserved int;
    v_value jsonb;
begin
    if p_cache_key is null or p_cache_key !~ '^[0-9a-f]{64}$' or p_lease_s is null or p_lease_s not between 1 and 3600 then
        perform private.fail(
            'VALIDATION_ERROR', 400, 'The key is a SHA-256 in hexadecimal digits, and a lease lasts 1 to 3600 seconds',
            jsonb_build_object('cache_key', p_cache_key, 'lease_s', p_lease_s));
    end if;
    select * into v_tool from public.tools where id = p_tool_id;
    if not found then
        perform private.fail('TOOL_NOT_FOUND', 404, 'There is no such tool', jsonb_build_object('tool_id', p_tool_id));
    end if;
    if not v_tool.is_enabled then
        perform private.fail(
            'TOOL_DISABLED', 409, 'This tool is switched off for the moment', jsonb_build_object('tool_id', p_tool_id));
    end if;

    -- A result that is there needs no lock.
    select value into v_value
    from cache.kv_store
    where key = p_cache_key and user_id = p_user_id and expires_at > clock_timestamp();
    if found then
        return jsonb_build_object('state', 'hit', 'value', v_value);
    end if;

    -- The user's row orders everything that looks at or changes the balance.
    select credits into v_credits from public.users where id = p_user_id for no key update;
    if not found then
        perform private.fail('USER_NOT_FOUND', 404, 'There is no such user', jsonb_build_object('user_id', p_user_id));
    end if;
    -- Finished while we waited.
    select value into v_value
    from cache.kv_store
    where key = p_cache_key and user_id = p_user_id and expires_at > clock_timestamp();
    if found then
        return jsonb_build_object('state', 'hit', 'value', v_value);
    end if;
    if exists (
        select from private.leases
        where user_id = p_user_id and key = p_cache_key and state = 'running' and lease_until > clock_timestamp()
    ) then
        return jsonb_build_object('state', 'running');
    end if;
    select coalesce(sum(cost), 0) into v_reserved
    from private.leases
    where user_id = p_user_id and key <> p_cache_key and state = 'running' and lease_until > clock_timestamp();
    if v_credits - v_reserved < v_tool.credit_cost then
        perform private.fail(
            'INSUFFICIENT_CREDITS', 402, 'There are not enough credits for this tool',
            jsonb_build_object('credits', v_credits, 'reserved', v_reserved, 'cost', v_tool.credit_cost));
    end if;
    insert into private.leases (user_id, key, tool_id, cost, lease_until)
    values (p_user_id, p_cache_key, p_tool_id, v_tool.credit_cost, clock_timestamp() + make_interval(secs => p_lease_s))
    on conflict (user_id, key) do update
    set tool_id = excluded.tool_id,
        cost = excluded.cost,
        state = 'running',
        reason = null,
        lease_until = excluded.lease_until;
    return jsonb_build_object('state', 'started', 'cost', v_tool.credit_cost);
end
$$;
comment on function public.begin_generation(uuid, text, text, int) is
    'Service role: {"state": "hit", "value"}, {"state": "running"} while an identical request is worked on, or '
    '{"state": "started", '
    '"cost"}: the caller has the lease, and its cost stays free until it ends. INSUFFICIENT_CREDITS (402), '
    'TOOL_NOT_FOUND, '
    'TOOL_DISABLED. A lease that ran out is taken over.';

create function public.finish_generation(
    p_user_id uuid,
    p_tool_id text,
    p_cache_key text,
    p_parameters jsonb,
    p_source_path text,
    p_source_sha256 text,
    p_result jsonb,
    p_result_path text default null,
    p_model text default null
)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_credits int;
    v_cost int;
    v_id uuid;
    v_value jsonb;
begin
    if p_result is null or jsonb_typeof(p_result) <> 'object' then
        perform private.fail('VALIDATION_ERROR', 400, 'A result is a JSON object');
    end if;
    select credits into v_credits from public.users where id = p_user_id for no key update;
    delete from private.leases
    where user_id = p_user_id and key = p_cache_key and tool_id = p_tool_id and state = 'running'
    returning cost into v_cost;
    if v_credits is null or v_cost is null then
        perform private.fail(
            'NOT_RUNNING', 409, 'This run is over: it was finished, or it failed', jsonb_build_object('tool_id', p_tool_id));
    end if;
    if v_credits < v_cost then
        perform private.fail(
            'INSUFFICIENT_CREDITS', 402, 'There are not enough credits for this tool',
            jsonb_build_object('credits', v_credits, 'cost', v_cost));
    end if;
    insert into public.generations
        (user_id, tool_id, parameters, source_path, source_sha256, result, result_path, model, credits)
    values (
        p_user_id, p_tool_id, coalesce(p_parameters, '{}'), p_source_path, p_source_sha256, p_result, p_result_path,
        p_model, v_cost)
    returning id into v_id;
    perform private.change_credits(p_user_id, -v_cost, 'generation', v_id::text);
    insert into public.credit_usage (user_id, tool_id, generation_id, credits)
    values (p_user_id, p_tool_id, v_id, v_cost);
    v_value := p_result || jsonb_build_object('generation_id', v_id);
    insert into cache.kv_store (key, user_id, value, expires_at)
    values (p_cache_key, p_user_id, v_value, clock_timestamp() + interval '24 hours')
    on conflict (key) do update
    set user_id = excluded.user_id,
        value = excluded.value,
        expires_at = excluded.expires_at;
    return jsonb_build_object('generation_id', v_id, 'credits_left', v_credits - v_cost, 'value', v_value);
end
$$;
comment on function public.finish_generation(uuid, text, text, jsonb, text, text, jsonb, text, text) is
    'Service role: in one transaction the balance, credit_usage, the gallery, the cache for 24 hours and the end of '
    'the lease. '
    'Answers {"generation_id", "credits_left", "value"}; value, which a hit answers, is p_result with generation_id. '
    'NOT_RUNNING '
    '(409) or INSUFFICIENT_CREDITS (402): nothing has changed.';

create function public.fail_generation(p_user_id uuid, p_cache_key text, p_reason text)
returns void
language sql
security definer
set search_path = ''
as $$
    update private.leases
    set state = 'failed',
        reason = left(p_reason, 2000),
        lease_until = clock_timestamp()
    where user_id = p_user_id and key = p_cache_key and state = 'running'
$$;
comment on function public.fail_generation(uuid, text, text) is
    'Service role: ends a run that made nothing. Nothing is charged, and the next identical request begins anew.';

revoke all on function public.begin_generation(uuid, text, text, int) from public, anon, authenticated;
revoke all on function public.finish_generation(uuid, text, text, jsonb, text, text, jsonb, text, text)
from public, anon, authenticated;
revoke all on function public.fail_generation(uuid, text, text) from public, anon, authenticated;
grant execute on function public.begin_generation(uuid, text, text, int) to service_role;
grant execute on function public.finish_generation(uuid, text, text, jsonb, text, text, jsonb, text, text) to service_role;
grant execute on function public.fail_generation(uuid, text, text) to service_role;

revoke all on all routines in schema private from public;
