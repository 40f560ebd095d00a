-- The enumerations of the auth schema (GoTrue's, as of migration 20260625000000).
set local role supabase_auth_admin;

do $$
declare
    type_name text;
    labels text;
begin
    for type_name, labels in
        values
            ('aal_level', $l$'aal1', 'aal2', 'aal3'$l$),
            ('code_challenge_method', $l$'s256', 'plain'$l$),
            ('factor_status', $l$'unverified', 'verified'$l$),
            ('factor_type', $l$'totp', 'webauthn', 'phone'$l$),
            ('one_time_token_type', $l$'confirmation_token', 'reauthentication_token', 'recovery_token',
                'email_change_token_new', 'email_change_token_current', 'phone_change_token'$l$),
            ('oauth_registration_type', $l$'dynamic', 'manual'$l$),
            ('oauth_client_type', $l$'public', 'confidential'$l$),
            ('oauth_authorization_status', $l$'pending', 'approved', 'denied', 'expired'$l$),
            ('oauth_response_type', $l$'code'$l$)
    loop
        if to_regtype(format('auth.%I', type_name)) is null then
            execute format('create type auth.%I as enum (%s)', type_name, labels);
        end if;
    end loop;
end
$$;
