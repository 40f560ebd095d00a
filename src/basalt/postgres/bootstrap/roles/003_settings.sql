-- What each role starts a session with; a request takes the timeouts of the role that it runs as.

alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';

alter role supabase_auth_admin set search_path = auth;
alter role supabase_auth_admin set idle_in_transaction_session_timeout = '60s';
alter role supabase_storage_admin set search_path = storage;
alter role supabase_functions_admin set search_path = supabase_functions;
select pg_temp.attempt('alter role supabase_admin set search_path = "$user", public, auth, extensions');
select pg_temp.attempt('alter role postgres set search_path = "$user", public, extensions');

-- Projects set the first ones on role `authenticator` or on their database, the last ones for themselves; without the
-- grant only a superuser may.
select pg_temp.attempt($grant$
    grant set on parameter
        pgrst.client_error_verbosity, pgrst.db_aggregates_enabled, pgrst.db_anon_role,
        pgrst.db_extra_search_path, pgrst.db_hoisted_tx_settings, pgrst.db_max_rows, pgrst.db_plan_enabled,
        pgrst.db_pre_config, pgrst.db_pre_request, pgrst.db_prepared_statements, pgrst.db_root_spec,
        pgrst.db_schemas, pgrst.db_timezone_enabled, pgrst.db_tx_end, pgrst.jwt_aud,
        pgrst.jwt_cache_max_entries, pgrst.jwt_cache_max_lifetime, pgrst.jwt_role_claim_key, pgrst.jwt_secret,
        pgrst.jwt_secret_is_base64, pgrst.log_level, pgrst.openapi_mode, pgrst.openapi_security_active,
        pgrst.openapi_server_proxy_uri, pgrst.server_cors_allowed_origins, pgrst.server_timing_enabled,
        pgrst.server_trace_header, pgrst.url_use_legacy_target_names,
        app.jwt_secret, app.service_role_key, app.settings.anon_key, app.settings.jwt_exp,
        app.settings.jwt_secret, app.settings.project_url, app.settings.service_role_key,
        app.settings.supabase_url, app.supabase_url,
        log_min_messages, log_statement, pg_stat_statements.track, session_replication_role
    to postgres
$grant$);
