-- Points: an append-only log, and a balance that only the log's trigger writes.

create table public.points_log (
    id bigint generated always as identity primary key,
    user_id uuid not null references public.users (id) on delete cascade,
    points int not null check (points <> 0),
    reason text not null check (reason ~ '^[a-z][a-z0-9_]{0,49}$'),
    source_id uuid not null default gen_random_uuid(),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint points_log_awarded_once unique (user_id, reason, source_id)
);
comment on table public.points_log is 'Every award and correction, append only. Its sum per user is users.total_points.';
comment on column public.points_log.points is 'Negative for a correction; never 0.';
comment on column public.points_log.reason is
    'gig_application (10), completed_shift (50 or 70), achievement_unlock, adjustment, or a word of the operator.';
comment on column public.points_log.updated_at is 'Equal to created_at: the log is append only.';
comment on column public.points_log.source_id is
    'What earned it (a gig, a timesheet, an achievement): an award for the same reason and source is given once.';

create index points_log_user_id_created_at_idx on public.points_log (user_id, created_at) include (points);
create index points_log_created_at_idx on public.points_log (created_at) include (user_id, points);
comment on index public.points_log_created_at_idx is 'Leaderboards sum a period.';

create function private.add_points_to_balance()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.users set total_points = total_points + new.points where id = new.user_id;
    return null;
end
$$;
comment on function private.add_points_to_balance() is
    'After insert into points_log: the only writer of users.total_points. The row lock it takes orders concurrent awards.';

create trigger points_log_add_to_balance
after insert on public.points_log
for each row execute function private.add_points_to_balance();

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
    raise exception 'points_log is append only: correct an award with another row'
        using errcode = 'integrity_constraint_violation';
end
$$;
comment on function private.refuse_log_change() is 'Before update, delete or truncate of points_log, whoever asks.';

create trigger points_log_append_only
before update or delete on public.points_log
for each row execute function private.refuse_log_change();

create trigger points_log_no_truncate
before truncate on public.points_log
for each statement execute function private.refuse_log_change();

alter table public.points_log enable row level security;

create policy "users view their own points"
on public.points_log for select to authenticated
using ((select auth.uid()) = user_id);

revoke all on public.points_log from anon, authenticated, service_role;
grant select on public.points_log to authenticated, service_role;

create function private.award_points(p_user_id uuid, p_points int, p_reason text, p_source_id uuid)
returns int
language sql
security definer
set search_path = ''
as $$
    with awarded as (
        insert into public.points_log (user_id, points, reason, source_id)
        values (p_user_id, p_points, p_reason, p_source_id)
        on conflict on constraint points_log_awarded_once do nothing
        returning points
    )
    select coalesce((select points from awarded), 0)
$$;
comment on function private.award_points(uuid, int, text, uuid) is
    'Writes one award and answers the points given: 0 when this source was already rewarded for this reason.';

create function public.increment_user_points(
    p_user_id uuid,
    p_points int,
    p_reason text default 'adjustment',
    p_source_id uuid default null
)
returns int
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_total_points int;
begin
    if p_points is null or p_points = 0 or p_reason is null or p_reason !~ '^[a-z][a-z0-9_]{0,49}$' then
        perform private.fail(
            'VALIDATION_ERROR', 400, 'Points must not be 0, and the reason is a lower-case word such as completed_shift',
            jsonb_build_object('points', p_points, 'reason', p_reason));
    end if;
    select total_points into v_total_points from public.users where id = p_user_id for no key update;
    if not found then
        perform private.fail('USER_NOT_FOUND', 404, 'There is no such user', jsonb_build_object('user_id', p_user_id));
    end if;
    if v_total_points::bigint + p_points not between 0 and 2147483647 then
        perform private.fail(
            'POINTS_OUT_OF_RANGE', 409, 'The balance would leave its range',
            jsonb_build_object('total_points', v_total_points, 'points', p_points));
    end if;
    return v_total_points
        + private.award_points(p_user_id, p_points, p_reason, coalesce(p_source_id, gen_random_uuid()));
end
$$;
comment on function public.increment_user_points(uuid, int, text, uuid) is
    'Service role: logs an award (or a correction, negative) and answers the new balance. With p_source_id it is idempotent.';

revoke all on function public.increment_user_points(uuid, int, text, uuid) from public, anon, authenticated;
grant execute on function public.increment_user_points(uuid, int, text, uuid) to service_role;

revoke all on all routines in schema private from public;
