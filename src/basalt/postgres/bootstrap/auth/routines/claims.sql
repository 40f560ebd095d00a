-- Who is asking, read from the claims of the request. Each setting may come as one JSON document (`request.jwt.claims`) or, the
-- older way, as one setting per claim. Plain SQL, so that the planner can inline them into policies.
set local role supabase_auth_admin;

create or replace function auth.uid() returns uuid
language sql stable
as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim.sub', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
    )::uuid
$$;

comment on function auth.uid() is 'The id of the user who makes the request; null without one.';

create or replace function auth.role() returns text
language sql stable
as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim.role', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
    )
$$;

comment on function auth.role() is 'The role of the request''s token. `to authenticated` in a policy says it better.';

create or replace function auth.email() returns text
language sql stable
as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim.email', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
    )
$$;

comment on function auth.email() is 'The e-mail address in the request''s token; auth.jwt() ->> ''email'' is the same.';

create or replace function auth.jwt() returns jsonb
language sql stable
as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')
    )::jsonb
$$;

comment on function auth.jwt() is 'All claims of the request''s token.';

grant execute on function auth.uid(), auth.role(), auth.email(), auth.jwt() to public;
