-- Applications: a worker asks, an employer decides. The rules sit in triggers, so that a plain insert through REST
-- and the RPC obey the same ones.

create table public.gig_applications (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null default auth.uid() references public.users (id) on delete cascade,
    gig_id uuid not null references public.gigs (id) on delete cascade,
    cover_message text check (char_length(cover_message) <= 2000),
    status text not null default 'pending' check (status in ('pending', 'accepted', 'rejected', 'withdrawn')),
    decided_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint gig_applications_once unique (user_id, gig_id)
);
comment on table public.gig_applications is 'One application per worker and gig, ever: withdrawing does not open a second try.';
comment on column public.gig_applications.cover_message is 'To the employer, up to 2,000 characters.';
comment on column public.gig_applications.status is
    'pending, then accepted or rejected by the employer (decide_application) or withdrawn by the worker.';
comment on column public.gig_applications.decided_at is 'When it was accepted, rejected or withdrawn.';
comment on constraint gig_applications_once on public.gig_applications is
    'Also the index for a worker''s own applications: user_id leads.';

create index gig_applications_gig_id_status_idx on public.gig_applications (gig_id, status);

create trigger gig_applications_touch_updated_at
before update on public.gig_applications
for each row execute function private.touch_updated_at();

create function private.check_application()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_gig public.gigs;
begin
    -- Shared: applications pass side by side, but the gig cannot close or fill between this check and the insert.
    select * into v_gig from public.gigs where id = new.gig_id for share;
    if not found or v_gig.status = 'draft' or (v_gig.status = 'open' and v_gig.published_at is null) then
        perform private.fail('GIG_NOT_FOUND', 404, 'There is no such gig', jsonb_build_object('gig_id', new.gig_id));
    end if;
    if v_gig.employer_id = new.user_id then
        perform private.fail('OWN_GIG', 403, 'Employers cannot apply to their own gigs', jsonb_build_object('gig_id', new.gig_id));
    end if;
    if exists (select from public.gig_applications where user_id = new.user_id and gig_id = new.gig_id) then
        perform private.fail(
            'ALREADY_APPLIED', 409, 'You have already applied to this gig', jsonb_build_object('gig_id', new.gig_id));
    end if;
    if v_gig.status <> 'open' then
        perform private.fail(
            'GIG_CLOSED', 409, 'This gig takes no more applications',
            jsonb_build_object('gig_id', new.gig_id, 'status', v_gig.status));
    end if;
    if v_gig.filled_count >= v_gig.capacity then
        perform private.fail(
            'GIG_FULL', 409, 'All places of this gig are taken',
            jsonb_build_object('gig_id', new.gig_id, 'capacity', v_gig.capacity));
    end if;
    return new;
end
$$;
comment on function private.check_application() is
    'Before an application: GIG_NOT_FOUND, OWN_GIG, ALREADY_APPLIED, GIG_CLOSED or GIG_FULL.';

create trigger gig_applications_check
before insert on public.gig_applications
for each row execute function private.check_application();

create function private.reward_application()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.award_points(new.user_id, 10, 'gig_application', new.gig_id);
    return null;
end
$$;
comment on function private.reward_application() is 'After an application: 10 points, once per gig.';

create trigger gig_applications_reward
after insert on public.gig_applications
for each row execute function private.reward_application();

create function private.count_accepted()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_before constant int := case when tg_op <> 'INSERT' and old.status = 'accepted' then 1 else 0 end;
    v_after constant int := case when tg_op <> 'DELETE' and new.status = 'accepted' then 1 else 0 end;
begin
    if v_after <> v_before then
        update public.gigs
        set filled_count = filled_count + v_after - v_before
        where id = case when tg_op = 'DELETE' then old.gig_id else new.gig_id end;
    end if;
    return null;
end
$$;
comment on function private.count_accepted() is
    'Keeps gigs.filled_count; its check constraint refuses one more than the capacity on any path.';

create trigger gig_applications_count_accepted
after insert or update of status or delete on public.gig_applications
for each row execute function private.count_accepted();

create function private.gigs_i_applied_to()
returns setof uuid
language sql
stable
security definer
rows 50
set search_path = ''
as $$
    select gig_id from public.gig_applications where user_id = (select auth.uid())
$$;
comment on function private.gigs_i_applied_to() is
    'For the policy on gigs: looked up once per statement, and security definer because the policies of both tables name each other.';

create policy "workers view gigs they applied to"
on public.gigs for select to authenticated
using (id in (select private.gigs_i_applied_to()));

alter table public.gig_applications enable row level security;

create policy "users view their own applications"
on public.gig_applications for select to authenticated
using ((select auth.uid()) = user_id);

create policy "employers view applications to their gigs"
on public.gig_applications for select to authenticated
using (gig_id in (select g.id from public.gigs as g where g.employer_id = (select auth.uid())));

create policy "users insert their own applications"
on public.gig_applications for insert to authenticated
with check ((select auth.uid()) = user_id);

revoke all on public.gig_applications from anon, authenticated, service_role;
grant select on public.gig_applications to authenticated;
grant insert (user_id, gig_id, cover_message) on public.gig_applications to authenticated;
grant select, insert, update, delete on public.gig_applications to service_role;

create function public.apply_to_gig(p_gig_id uuid, p_cover_message text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_user_id constant uuid := private.require_user();
    v_application_id uuid;
begin
    if char_length(p_cover_message) > 2000 then
        perform private.fail('VALIDATION_ERROR', 400, 'A cover message has at most 2,000 characters');
    end if;
    insert into public.gig_applications (user_id, gig_id, cover_message)
    values (v_user_id, p_gig_id, p_cover_message)
    returning id into v_application_id;
    return json_build_object('application_id', v_application_id, 'status', 'pending', 'points_earned', 10);
exception
    when unique_violation then  -- a concurrent call of the same user was first
        perform private.fail(
            'ALREADY_APPLIED', 409, 'You have already applied to this gig', jsonb_build_object('gig_id', p_gig_id));
end
$$;
comment on function public.apply_to_gig(uuid, text) is
    'Applies the caller to a gig: {application_id, status, points_earned}. ALREADY_APPLIED, GIG_CLOSED, GIG_FULL (409), '
    'GIG_NOT_FOUND (404), OWN_GIG (403).';

create function public.decide_application(p_application_id uuid, p_decision text)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_user_id constant uuid := private.require_user();
    v_application public.gig_applications;
    v_gig public.gigs;
begin
    if p_decision is null or p_decision not in ('accepted', 'rejected') then
        perform private.fail('VALIDATION_ERROR', 400, 'A decision is "accepted" or "rejected"');
    end if;
    -- The gig is locked before the application, in every routine that takes both; "no key", because foreign keys to it
    -- are checked by clock-ins that hold the application already.
    select g.* into v_gig
    from public.gigs as g
    where g.id = (select a.gig_id from public.gig_applications as a where a.id = p_application_id)
        and g.employer_id = v_user_id
    for no key update;
    if not found then
        perform private.fail(
            'APPLICATION_NOT_FOUND', 404, 'There is no such application to one of your gigs',
            jsonb_build_object('application_id', p_application_id));
    end if;
    select * into v_application from public.gig_applications where id = p_application_id for no key update;
    if v_application.status <> p_decision then
        if v_application.status <> 'pending' then
            perform private.fail(
                'ALREADY_DECIDED', 409, 'This application is ' || v_application.status,
                jsonb_build_object('status', v_application.status));
        end if;
        if p_decision = 'accepted' and v_gig.status not in ('open', 'closed') then
            perform private.fail(
                'GIG_CLOSED', 409, 'This gig is ' || v_gig.status, jsonb_build_object('status', v_gig.status));
        end if;
        if p_decision = 'accepted' and v_gig.filled_count >= v_gig.capacity then
            perform private.fail(
                'GIG_FULL', 409, 'All places of this gig are taken', jsonb_build_object('capacity', v_gig.capacity));
        end if;
        update public.gig_applications
        set status = p_decision, decided_at = now()
        where id = p_application_id;
    end if;
    return json_build_object(
        'application_id', p_application_id,
        'gig_id', v_gig.id,
        'status', p_decision,
        'filled_count', (select filled_count from public.gigs where id = v_gig.id),
        'capacity', v_gig.capacity
    );
end
$$;
comment on function public.decide_application(uuid, text) is
    'The employer accepts or rejects a pending application; repeating a decision changes nothing. '
    'APPLICATION_NOT_FOUND (404), ALREADY_DECIDED, GIG_CLOSED, GIG_FULL (409).';

create function public.list_applicants(p_gig_id uuid)
returns table (
    application_id uuid,
    user_id uuid,
    full_name text,
    skills text[],
    level int,
    status text,
    cover_message text,
    applied_at timestamptz
)
language sql
stable
security definer
set search_path = ''
as $$
    select a.id, u.id, u.full_name, u.skills, u.level, a.status, a.cover_message, a.created_at
    from public.gig_applications as a
    join public.gigs as g on g.id = a.gig_id
    join public.users as u on u.id = a.user_id
    where a.gig_id = p_gig_id and g.employer_id = (select auth.uid())
    order by a.created_at, a.id
$$;
comment on function public.list_applicants(uuid) is
    'For the employer of the gig: who applied, without phone number and address, which profiles keep to themselves.';

revoke all on function public.apply_to_gig(uuid, text) from public, anon;
revoke all on function public.decide_application(uuid, text) from public, anon;
revoke all on function public.list_applicants(uuid) from public, anon;
grant execute on function public.apply_to_gig(uuid, text) to authenticated, service_role;
grant execute on function public.decide_application(uuid, text) to authenticated, service_role;
grant execute on function public.list_applicants(uuid) to authenticated, service_role;

revoke all on all routines in schema private from public;
grant execute on function private.gigs_i_applied_to() to authenticated;
