-- The payouts ledger: an approved timesheet is paid once, in a batch of its employer for a period, and nothing of it changes.

create table public.payout_batches (
    id uuid primary key default gen_random_uuid(),
    employer_id uuid references public.users (id) on delete set null,
    period_start date not null,
    period_end date not null,
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    timesheet_count int not null check (timesheet_count > 0),
    total_amount numeric(14, 2) not null check (total_amount >= 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (period_end >= period_start)
);
comment on table public.payout_batches is
    'What an employer pays for a period, one batch per currency; what is approved later goes into another one. Append only.';
comment on column public.payout_batches.employer_id is 'Who pays; null once that account is deleted.';
comment on column public.payout_batches.period_start is 'First day of work in it.';
comment on column public.payout_batches.period_end is 'Last day of work in it.';
comment on column public.payout_batches.currency is 'ISO 4217, of the gigs.';
comment on column public.payout_batches.timesheet_count is 'How many payouts it has.';
comment on column public.payout_batches.total_amount is 'The sum of its payouts; checked at commit.';
comment on column public.payout_batches.updated_at is 'When it was made, or when the account of its employer was deleted.';

create table public.payouts (
    id uuid primary key default gen_random_uuid(),
    batch_id uuid not null references public.payout_batches (id) on delete restrict,
    timesheet_id uuid references public.timesheets (id) on delete set null,
    user_id uuid references public.users (id) on delete set null,
    employer_id uuid references public.users (id) on delete set null,
    hours_worked numeric(10, 4) not null,
    amount numeric(12, 2) not null check (amount >= 0),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint payouts_once unique (timesheet_id)
);
comment on table public.payouts is 'What a worker is paid for a timesheet: once. Append only; amounts outlive accounts.';
comment on column public.payouts.batch_id is 'Together with what.';
comment on column public.payouts.timesheet_id is 'For which shift; null once the account of the worker is deleted.';
comment on column public.payouts.user_id is 'Who is paid; null once that account is deleted.';
comment on column public.payouts.employer_id is 'Who pays; null once that account is deleted.';
comment on column public.payouts.hours_worked is 'As approved.';
comment on column public.payouts.amount is 'As approved, in currency.';
comment on column public.payouts.currency is 'ISO 4217, of the gig.';
comment on column public.payouts.updated_at is 'When it was made, or when an account was deleted.';
comment on constraint payouts_once on public.payouts is 'Exactly once, whatever races.';

create index payout_batches_employer_id_period_start_idx on public.payout_batches (employer_id, period_start);
create index payouts_batch_id_idx on public.payouts (batch_id);
create index payouts_user_id_created_at_idx on public.payouts (user_id, created_at desc);
create index payouts_employer_id_idx on public.payouts (employer_id);

create function private.refuse_ledger_change()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- A deleted account leaves its amounts behind, without its name.
    if tg_op = 'UPDATE' and to_jsonb(new) - array['employer_id', 'user_id', 'timesheet_id', 'updated_at']
            = to_jsonb(old) - array['employer_id', 'user_id', 'timesheet_id', 'updated_at']
        and (new.employer_id is not distinct from old.employer_id
            or (new.employer_id is null and not exists (select from public.users where id = old.employer_id)))
        and (to_jsonb(new) -> 'user_id' is not distinct from to_jsonb(old) -> 'user_id'
            or (to_jsonb(new) ->> 'user_id' is null
                and not exists (select from public.users where id = (to_jsonb(old) ->> 'user_id')::uuid)))
        and (to_jsonb(new) -> 'timesheet_id' is not distinct from to_jsonb(old) -> 'timesheet_id'
            or (to_jsonb(new) ->> 'timesheet_id' is null
                and not exists (select from public.timesheets where id = (to_jsonb(old) ->> 'timesheet_id')::uuid))) then
        return new;
    end if;
    raise exception '% is append only: pay a difference with a payout of its own', tg_table_name
        using errcode = 'integrity_constraint_violation';
end
$$;
comment on function private.refuse_ledger_change() is
    'Before update, delete or truncate of the ledger, whoever asks; a deleted account only takes its name out.';

create trigger payouts_append_only
before update or delete on public.payouts
for each row execute function private.refuse_ledger_change();
create trigger payouts_no_truncate
before truncate on public.payouts
for each statement execute function private.refuse_ledger_change();
create trigger payout_batches_append_only
before update or delete on public.payout_batches
for each row execute function private.refuse_ledger_change();
create trigger payout_batches_no_truncate
before truncate on public.payout_batches
for each statement execute function private.refuse_ledger_change();
create trigger payouts_touch_updated_at
before update on public.payouts
for each row execute function private.touch_updated_at();
create trigger payout_batches_touch_updated_at
before update on public.payout_batches
for each row execute function private.touch_updated_at();

create function private.check_batch_total()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_batch_id constant uuid := coalesce(to_jsonb(new) ->> 'batch_id', to_jsonb(new) ->> 'id')::uuid;
begin
    if not exists (
        select from public.payout_batches as b
        where b.id = v_batch_id
            and (b.timesheet_count, b.total_amount)
                = (select count(*)::int, coalesce(sum(p.amount), 0) from public.payouts as p where p.batch_id = b.id)
    ) then
        raise exception 'the payouts of batch % are not its total', v_batch_id
            using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end
$$;
comment on function private.check_batch_total() is 'At commit: a batch is the sum of its payouts.';

create constraint trigger payout_batches_total
after insert on public.payout_batches
deferrable initially deferred
for each row execute function private.check_batch_total();

create constraint trigger payouts_total
after insert on public.payouts
deferrable initially deferred
for each row execute function private.check_batch_total();

create function private.check_paid()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if not exists (select from public.payouts where timesheet_id = new.id and amount = new.total_amount) then
        raise exception 'a timesheet is paid by a payout of its amount' using errcode = 'integrity_constraint_violation';
    end if;
    return new;
end
$$;
comment on function private.check_paid() is 'Before a timesheet becomes paid: its payout is there.';

create trigger timesheets_check_paid
before insert or update on public.timesheets
for each row when (new.status = 'paid')
execute function private.check_paid();

alter table public.payout_batches enable row level security;
alter table public.payouts enable row level security;

create policy "employers view their own batches"
on public.payout_batches for select to authenticated
using (employer_id = (select auth.uid()));

create policy "workers and employers view their own payouts"
on public.payouts for select to authenticated
using (user_id = (select auth.uid()) or employer_id = (select auth.uid()));

revoke all on public.payout_batches, public.payouts from anon, authenticated, service_role;
grant select on public.payout_batches, public.payouts to authenticated, service_role;

create function public.create_payout_batch(p_period_start date, p_period_end date, p_employer_id uuid default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_employer_id constant uuid := private.require_self_or_operator(p_employer_id);
    v_batch record;
    v_batch_id uuid;
    v_batches jsonb := '[]';
begin
    if p_period_start is null or p_period_end is null or p_period_end < p_period_start
        or p_period_end - p_period_start > 366 then
        perform private.fail(
            'VALIDATION_ERROR', 400, 'A period has a first and a last day, within a year',
            jsonb_build_object('period_start', p_period_start, 'period_end', p_period_end));
    end if;
    -- Calls for one employer take turns; the second finds nothing left to pay.
    perform pg_advisory_xact_lock(hashtextextended('gigwork.payouts.' || v_employer_id, 0));
    perform from public.timesheets as t
    join public.gigs as g on g.id = t.gig_id
    where g.employer_id = v_employer_id and t.status = 'approved' and t.worked_on between p_period_start and p_period_end
    order by t.id
    for update of t;
    for v_batch in
        select
            g.currency, count(*)::int as timesheets, sum(t.total_amount) as total,
            count(distinct t.user_id)::int as workers, array_agg(t.id) as ids
        from public.timesheets as t
        join public.gigs as g on g.id = t.gig_id
        where g.employer_id = v_employer_id
            and t.status = 'approved'
            and t.worked_on between p_period_start and p_period_end
        group by g.currency
        order by g.currency
    loop
        insert into public.payout_batches (employer_id, period_start, period_end, currency, timesheet_count, total_amount)
        values (v_employer_id, p_period_start, p_period_end, v_batch.currency, v_batch.timesheets, v_batch.total)
        returning id into v_batch_id;
        insert into public.payouts (batch_id, timesheet_id, user_id, employer_id, hours_worked, amount, currency)
        select v_batch_id, t.id, t.user_id, v_employer_id, t.total_hours_worked, t.total_amount, v_batch.currency
        from public.timesheets as t
        where t.id = any(v_batch.ids);
        update public.timesheets set status = 'paid', paid_at = now() where id = any(v_batch.ids);
        v_batches := v_batches || jsonb_build_object(
            'batch_id', v_batch_id, 'currency', v_batch.currency, 'timesheet_count', v_batch.timesheets,
            'workers', v_batch.workers, 'total_amount', v_batch.total);
    end loop;
    return v_batches;
end
$$;
comment on function public.create_payout_batch(date, date, uuid) is
    'Pays all approved timesheets of the employer''s gigs worked on in a period, each once: an array of the new batches, empty '
    'when nothing is left. For the caller, or for anybody by the service role.';

revoke all on function public.create_payout_batch(date, date, uuid) from public, anon;
grant execute on function public.create_payout_batch(date, date, uuid) to authenticated, service_role;

revoke all on all routines in schema private from public;
