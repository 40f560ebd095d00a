-- What Auth no longer needs goes in small pieces (GoTrue models/cleanup.go): rows that somebody holds are left for the next
-- time, so that nobody waits. Returns how many rows went.

create or replace function basalt.clean_up_auth(
    batch integer, timebox_s double precision, inactivity_s double precision, anonymous_days integer
) returns bigint
language plpgsql
set search_path = ''
as $$
declare
    stale constant timestamptz := now() - interval '24 hours';
    part bigint;
    total bigint := 0;
begin
    delete from auth.refresh_tokens where id in (
        select t.id from auth.refresh_tokens as t where t.revoked and t.updated_at < stale
        limit batch for update skip locked);
    get diagnostics total = row_count;
    delete from auth.sessions where id in (
        select s.id from auth.sessions as s
        where s.not_after < stale
            or (timebox_s > 0 and s.created_at + make_interval(secs => timebox_s) < stale)
            or (inactivity_s > 0 and coalesce(s.refreshed_at at time zone 'utc', s.created_at)
                + make_interval(secs => inactivity_s) < stale)
        limit batch for update skip locked);
    get diagnostics part = row_count;
    total := total + part;
    delete from auth.saml_relay_states where id in (
        select r.id from auth.saml_relay_states as r where r.created_at < stale limit batch for update skip locked);
    get diagnostics part = row_count;
    total := total + part;
    delete from auth.flow_state where id in (
        select f.id from auth.flow_state as f where f.created_at < stale limit batch for update skip locked);
    get diagnostics part = row_count;
    total := total + part;
    delete from auth.oauth_client_states where id in (
        select o.id from auth.oauth_client_states as o where o.created_at < stale limit batch for update skip locked);
    get diagnostics part = row_count;
    total := total + part;
    delete from auth.oauth_authorizations where id in (
        select a.id from auth.oauth_authorizations as a where a.expires_at < stale limit batch for update skip locked);
    get diagnostics part = row_count;
    total := total + part;
    delete from auth.mfa_challenges where id in (
        select c.id from auth.mfa_challenges as c where c.created_at < stale limit batch for update skip locked);
    get diagnostics part = row_count;
    total := total + part;
    delete from auth.mfa_factors where id in (
        select f.id from auth.mfa_factors as f where f.created_at < stale and f.status = 'unverified'
        limit batch for update skip locked);
    get diagnostics part = row_count;
    total := total + part;
    delete from auth.webauthn_challenges where id in (
        select w.id from auth.webauthn_challenges as w where w.expires_at < now() limit batch for update skip locked);
    get diagnostics part = row_count;
    total := total + part;
    if anonymous_days > 0 then
        delete from auth.users where id in (
            select u.id from auth.users as u
            where u.is_anonymous and u.created_at < now() - make_interval(days => anonymous_days)
            limit batch for update skip locked);
        get diagnostics part = row_count;
        total := total + part;
    end if;
    return total;
end
$$;

comment on function basalt.clean_up_auth(integer, double precision, double precision, integer) is
    'Deletes a batch each of used refresh tokens, ended sessions, abandoned flows and challenges, and old anonymous users.';

revoke execute on function basalt.clean_up_auth(integer, double precision, double precision, integer) from public;
grant execute on function basalt.clean_up_auth(integer, double precision, double precision, integer) to supabase_auth_admin;
