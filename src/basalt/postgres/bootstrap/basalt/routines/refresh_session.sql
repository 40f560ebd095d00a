-- Refresh tokens are rotated here, in one statement, because a refresh is what clients ask of Auth most often. The rules
-- are GoTrue's (tokens/service.go RefreshTokenGrant); `basalt.auth.refresh` tells what comes of each outcome.

create or replace function basalt.highest_aal(for_user uuid) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return case when exists (
        select from auth.mfa_factors as f where f.user_id = for_user and f.status = 'verified') then 'aal2' else 'aal1' end;
end
$$;

comment on function basalt.highest_aal(uuid) is 'The assurance level that a user can reach with the factors of today.';

-- GoTrue models/sessions.go CheckValidity. Zero seconds are no limit. In plpgsql, and without settings of its own, because
-- calling it is then an expression: an SQL function that is not inlined costs a quarter of a refresh.
create or replace function basalt.why_session_ended(
    session auth.sessions, token_updated_at timestamptz, timebox_s double precision, inactivity_s double precision,
    low_aal_s double precision
) returns text
language plpgsql stable
as $$
begin
    return case
        when now() > session.not_after then 'expired'
        when timebox_s > 0 and now() > session.created_at + make_interval(secs => timebox_s) then 'expired'
        when inactivity_s > 0 and now() > make_interval(secs => inactivity_s) + coalesce(
            session.refreshed_at at time zone 'utc', greatest(session.created_at, token_updated_at)) then 'inactive'
        when low_aal_s > 0 and now() > session.created_at + make_interval(secs => low_aal_s)
            and coalesce(session.aal::text, 'aal1') < basalt.highest_aal(session.user_id) then 'low_aal'
    end;
end
$$;

comment on function basalt.why_session_ended(auth.sessions, timestamptz, double precision, double precision, double precision)
    is 'expired, inactive or low_aal when the session is over by the limits given; null while it is not.';

create or replace function basalt.session_tag(session auth.sessions, tags text[]) returns text
language plpgsql immutable
as $$
begin
    return case when session.tag = any (tags) then session.tag else coalesce(tags[1], '') end;
end
$$;

comment on function basalt.session_tag(auth.sessions, text[]) is 'The kind of a session; one of unknown kind is of the first.';

-- `given` are the forms in which the token may be stored, `successors` the stored forms of the tokens that may follow it.
-- Nothing waits for a lock: the caller tries again, without holding a connection meanwhile.
create or replace function basalt.refresh_session(
    given text[], successors text[], client uuid, agent text, address inet, reuse_interval_s double precision,
    rotates boolean, timebox_s double precision, inactivity_s double precision, low_aal_s double precision,
    single_per_user boolean, tags text[],
    out outcome text, out issued text, out session_id uuid, out user_id uuid
)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan  -- every row is found by its key; planning anew took most of the time
as $$
declare
    token auth.refresh_tokens;
    session auth.sessions;
    owner auth.users;
    active auth.refresh_tokens;
    actions text[] := '{token_refreshed}';
begin
    select * into token from auth.refresh_tokens as t where t.token = any (given) for update skip locked;
    if not found then
        outcome := case when exists (select from auth.refresh_tokens as t where t.token = any (given))
            then 'locked' else 'not_found' end;
        return;
    end if;
    select * into owner from auth.users as u where u.id = token.user_id::uuid;
    if not found then
        outcome := 'not_found';
        return;
    end if;
    user_id := owner.id;
    if owner.banned_until > now() or owner.deleted_at is not null then
        outcome := 'banned';
        return;
    end if;
    if token.session_id is null then  -- older than sessions are
        delete from auth.refresh_tokens as t where t.id = token.id;
        outcome := 'no_session';
        return;
    end if;
    session_id := token.session_id;
    select * into session from auth.sessions as s where s.id = token.session_id for update skip locked;
    if not found then
        outcome := 'locked';
        return;
    end if;
    outcome := basalt.why_session_ended(session, token.updated_at, timebox_s, inactivity_s, low_aal_s);
    if outcome is not null then
        return;
    end if;
    if session.oauth_client_id is distinct from client then
        outcome := case when client is null then 'client_required' when session.oauth_client_id is null
            then 'client_not_allowed' else 'client_mismatch' end;
        return;
    end if;
    if single_per_user and exists (
        select from auth.sessions as other
        where other.user_id = session.user_id and other.id <> session.id
            and basalt.why_session_ended(other, null, timebox_s, inactivity_s, low_aal_s) is null
            and basalt.session_tag(other, tags) = basalt.session_tag(session, tags)
            and coalesce(other.refreshed_at at time zone 'utc', other.created_at) > coalesce(
                session.refreshed_at at time zone 'utc', greatest(session.created_at, token.updated_at))
    ) then
        outcome := 'superseded';
        return;
    end if;

    if token.revoked is not true then
        issued := successors[1];
        actions := '{token_refreshed,token_revoked}';
    else
        select * into active from auth.refresh_tokens as t
        where t.session_id = session.id and t.revoked is false order by t.id desc limit 1;
        -- Its parent: the client never saw the answer. Within the interval: several tabs refresh at once.
        if active.id is null or not (
            active.parent = token.token or now() <= token.updated_at + make_interval(secs => reuse_interval_s)
        ) then
            if rotates then
                update auth.refresh_tokens as t set revoked = true, updated_at = now()
                where t.session_id = session.id and t.revoked is false;
            end if;
            outcome := 'already_used';
            return;
        end if;
        if active.token = any (successors) or length(active.token) = 12 then
            issued := active.token;
        elsif active.parent = token.token then  -- it was made with another key, and nobody can tell it any more
            issued := successors[1];
            update auth.refresh_tokens as t set revoked = true, updated_at = now() where t.id = active.id;
        else
            outcome := 'unknown_successor';
            return;
        end if;
    end if;
    if issued is distinct from active.token then
        update auth.refresh_tokens as t set revoked = true, updated_at = now() where t.id = token.id and not t.revoked;
        insert into auth.refresh_tokens (instance_id, token, user_id, parent, session_id, revoked, created_at, updated_at)
        values ('00000000-0000-0000-0000-000000000000', issued, owner.id, token.token, session.id, false, now(), now());
    end if;
    insert into auth.audit_log_entries (instance_id, id, payload, created_at, ip_address)
    select '00000000-0000-0000-0000-000000000000', gen_random_uuid(), json_strip_nulls(json_build_object(
        'action', action, 'log_type', 'token', 'actor_id', owner.id, 'actor_via_sso', owner.is_sso_user,
        'actor_username', coalesce(nullif(owner.phone, ''), owner.email, ''),
        'actor_name', owner.raw_user_meta_data -> 'full_name')), now(), ''
    from unnest(actions) as action;
    update auth.sessions as s set refreshed_at = now() at time zone 'utc', user_agent = agent, ip = address
    where s.id = session.id;
    outcome := 'refreshed';
end
$$;

comment on function basalt.refresh_session(text[], text[], uuid, text, inet, double precision, boolean, double precision,
    double precision, double precision, boolean, text[]) is
    'Exchanges a refresh token. `issued` is the stored form of the token that follows, or a token as GoTrue stored it.';

revoke execute on function basalt.highest_aal(uuid), basalt.session_tag(auth.sessions, text[]),
    basalt.why_session_ended(auth.sessions, timestamptz, double precision, double precision, double precision),
    basalt.refresh_session(text[], text[], uuid, text, inet, double precision, boolean, double precision,
        double precision, double precision, boolean, text[]) from public;
grant execute on function basalt.highest_aal(uuid), basalt.session_tag(auth.sessions, text[]),
    basalt.why_session_ended(auth.sessions, timestamptz, double precision, double precision, double precision),
    basalt.refresh_session(text[], text[], uuid, text, inet, double precision, boolean, double precision,
        double precision, double precision, boolean, text[]) to supabase_auth_admin;
