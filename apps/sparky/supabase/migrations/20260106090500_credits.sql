-- Credits: an append-only log, and a balance that only the log's trigger writes.

create table public.credit_log (
    id bigint generated always as identity primary key,
    user_id uuid not null references public.users (id) on delete cascade,
    credits int not null check (credits <> 0),
    reason text not null check (reason ~ '^[a-z][a-z0-9_]{0,49}$'),
    source_id text not null check (char_length(source_id) between 1 and 200),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint credit_log_changed_once unique (user_id, reason, source_id)
);
comment on table public.credit_log is 'Every change of a balance, append only. Its sum per user is users.credits.';
comment on column public.credit_log.credits is 'Negative for what was spent or taken back; never 0.';
comment on column public.credit_log.reason is
    'welcome, purchase, monthly_credits, generation, refund, adjustment, or a word of the operator.';
comment on column public.credit_log.source_id is
    'What changed it (a purchase, a month of a purchase, a generation): the same reason and source count once.';
comment on column public.credit_log.updated_at is 'Equal to created_at: the log is append only.';

create index credit_log_user_id_created_at_idx on public.credit_log (user_id, created_at desc) include (credits);

create function private.low_credits()
returns int
language sql
immutable
set search_path = ''
as $$
    select 3
$$;
comment on function private.low_credits() is 'From so many credits on a user is told that they run out.';

create function private.add_credits_to_balance()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_credits int;
begin
    update public.users set credits = credits + new.credits where id = new.user_id returning credits into v_credits;
    if v_credits <= private.low_credits() and v_credits - new.credits > private.low_credits() then
        perform private.tell(
            new.user_id, 'low_credits', new.id::text,
            case v_credits when 0 then 'No credits left' when 1 then '1 credit left' else v_credits || ' credits left' end,
            'Buy a pack or subscribe to go on.',
            jsonb_build_object('credits', v_credits));
    end if;
    return null;
end
$$;
comment on function private.add_credits_to_balance() is
    'After insert into credit_log: the only writer of users.credits. The row lock it takes orders concurrent changes. '
    'Tells the '
    'user when few are left.';

create trigger credit_log_add_to_balance
after insert on public.credit_log
for each row execute function private.add_credits_to_balance();

create function private.refuse_log_change()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- The cascade from a deleted account arrives when its profile is gone; nothing is left to disagree with.
    if tg_op = 'DELETE' and not exists (select from public.users where id = old.user_id) then
        return old;
    end if;
    raise exception 'credit_log is append only: correct a change with another row'
        using errcode = 'integrity_constraint_violation';
end
$$;
comment on function private.refuse_log_change() is 'Before update, delete or truncate of credit_log, whoever asks.';

create trigger credit_log_append_only
before update or delete on public.credit_log
for each row execute function private.refuse_log_change();

create trigger credit_log_no_truncate
before truncate on public.credit_log
for each statement execute function private.refuse_log_change();

alter table public.credit_log enable row level security;

create policy "users view their own credits"
on public.credit_log for select to authenticated
using ((select auth.uid()) = user_id);

revoke all on public.credit_log from anon, authenticated, service_role;
grant select on public.credit_log to authenticated, service_role;

create function private.change_credits(p_user_id uuid, p_credits int, p_reason text, p_source_id text)
returns int
language sql
security definer
set search_path = ''
as $$
    with changed as (
        insert into public.credit_log (user_id, credits, reason, source_id)
        select p_user_id, p_credits, p_reason, p_source_id
        where p_credits <> 0
        on conflict on constraint credit_log_changed_once do nothing
        returning credits
    )
    select coalesce((select credits from changed), 0)
$$;
comment on function private.change_credits(uuid, int, text, text) is
    'Writes one change and answers it: 0 when this source already counted for this reason.';

create function private.welcome()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.change_credits(
        new.id, (select start_credits from public.plans where id = new.plan_id), 'welcome', 'account');
    return null;
end
$$;
comment on function private.welcome() is 'After a profile was made: the credits that its plan starts with.';

create trigger users_welcome
after insert on public.users
for each row execute function private.welcome();

-- Accounts that were there before this migration.
select private.change_credits(u.id, p.start_credits, 'welcome', 'account')
from public.users as u join public.plans as p on p.id = u.plan_id;

create function public.adjust_credits(
    p_user_id uuid,
    p_credits int,
    p_reason text default 'adjustment',
    p_source_id text default null
)
returns int
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_credits int;
    v_changed int;
begin
    if p_credits is null or p_credits = 0 or p_reason is null or p_reason !~ '^[a-z][a-z0-9_]{0,49}$'
        or char_length(p_source_id) not between 1 and 200 then
        perform private.fail(
            'VALIDATION_ERROR', 400, 'Credits must not be 0, and the reason is a lower-case word such as adjustment',
            jsonb_build_object('credits', p_credits, 'reason', p_reason, 'source_id', p_source_id));
    end if;
    select credits into v_credits from public.users where id = p_user_id for no key update;
    if not found then
        perform private.fail('USER_NOT_FOUND', 404, 'There is no such user', jsonb_build_object('user_id', p_user_id));
    end if;
    if exists (
        select from public.credit_log
        where user_id = p_user_id and reason = p_reason and source_id = p_source_id
    ) then
        return v_credits;
    end if;
    if v_credits::bigint + p_credits not between 0 and 2147483647 then
        perform private.fail(
            'CREDITS_OUT_OF_RANGE', 409, 'The balance would leave its range',
            jsonb_build_object('credits', v_credits, 'change', p_credits));
    end if;
    v_changed := private.change_credits(
        p_user_id, p_credits, p_reason, coalesce(p_source_id, gen_random_uuid()::text));
    return v_credits + v_changed;
end
$$;
comment on function public.adjust_credits(uuid, int, text, text) is
    'Service role: gives or takes credits and answers the new balance. With p_source_id it is idempotent.';

revoke all on function public.adjust_credits(uuid, int, text, text) from public, anon, authenticated;
grant execute on function public.adjust_credits(uuid, int, text, text) to service_role;

revoke all on all routines in schema private from public;
