-- What Auth no longer needs goes in small pieces (GoTrue models/cleanup.go): rows that somebody holds are left for the next
-- time, so that nobody waits. Returns how many rows went.

create or replace function basalt.clean_up_auth(
    batch integer, timebox_s double precision, inactivity_s double precision, anonymous_days integer
) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    place regclass;
    condition text;
    part bigint;
    total bigint := 0;
begin
    for place, condition in
        values
            ('auth.refresh_tokens'::regclass, $c$r.revoked and r.updated_at < $2$c$),
            ('auth.sessions', $c$
                r.not_after < $2 or ($3 > 0 and r.created_at + make_interval(secs => $3) < $2)
                or ($4 > 0 and coalesce(r.refreshed_at at time zone 'utc', r.created_at) + make_interval(secs => $4) < $2)
            $c$),
            ('auth.saml_relay_states', $c$r.created_at < $2$c$),
            ('auth.flow_state', $c$r.created_at < $2$c$),
            ('auth.oauth_client_states', $c$r.created_at < $2$c$),
            ('auth.oauth_authorizations', $c$r.expires_at < $2$c$),
            ('auth.mfa_challenges', $c$r.created_at < $2$c$),
            ('auth.mfa_factors', $c$r.created_at < $2 and r.status = 'unverified'$c$),
            ('auth.webauthn_challenges', $c$r.expires_at < now()$c$),
            ('auth.users', $c$r.is_anonymous and $5 > 0 and r.created_at < now() - make_interval(days => $5)$c$)
    loop
        -- An array, which is made once: a subquery may be run again, and lock and delete a batch each time.
        execute format(
            'delete from %1$s where id = any (array('
                'select r.id from %1$s as r where %2$s limit $1 for update skip locked))',
            place, condition)
        using batch, now() - interval '24 hours', timebox_s, inactivity_s, anonymous_days;
        get diagnostics part = row_count;
        total := total + part;
    end loop;
    return total;
end
$$;

comment on function basalt.clean_up_auth(integer, double precision, double precision, integer) is
    'Deletes a batch each of used refresh tokens, ended sessions, abandoned flows and challenges, and old anonymous users.';

revoke execute on function basalt.clean_up_auth(integer, double precision, double precision, integer) from public;
grant execute on function basalt.clean_up_auth(integer, double precision, double precision, integer) to supabase_auth_admin;
