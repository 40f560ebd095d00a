-- The schemas of a Supabase project, their owners and who may look into them.

create schema if not exists basalt authorization supabase_admin;
create schema if not exists extensions authorization postgres;
create schema if not exists auth authorization supabase_admin;
create schema if not exists storage authorization supabase_admin;
create schema if not exists realtime authorization supabase_admin;
create schema if not exists _realtime authorization supabase_admin;
create schema if not exists supabase_functions authorization supabase_admin;
create schema if not exists supabase_migrations authorization postgres;
create schema if not exists cron authorization supabase_admin;
create schema if not exists net authorization supabase_admin;
create schema if not exists vault authorization supabase_admin;
create schema if not exists pgsodium authorization supabase_admin;
create schema if not exists pgsodium_masks authorization supabase_admin;
create schema if not exists pgmq authorization supabase_admin;
create schema if not exists pgmq_public authorization supabase_admin;
create schema if not exists graphql authorization supabase_admin;
create schema if not exists graphql_public authorization supabase_admin;
create schema if not exists pgbouncer authorization pgbouncer;

comment on schema basalt is 'Basalt: its own tables, not part of the API.';
comment on schema auth is 'Users, sessions and sign-in.';
comment on schema storage is 'Buckets and objects.';
comment on schema realtime is 'Channels, messages and subscriptions.';

grant usage, create on schema auth to supabase_auth_admin, postgres;
grant usage, create on schema storage to supabase_storage_admin, postgres;
grant usage, create on schema realtime to supabase_realtime_admin, postgres;
grant usage, create on schema supabase_functions to supabase_functions_admin, postgres;
grant all on schema auth, storage, extensions to dashboard_user;

grant usage on schema public, extensions, auth, storage, realtime, graphql, graphql_public, pgmq_public
    to postgres, anon, authenticated, service_role;
grant usage on schema supabase_functions to anon, authenticated, service_role;
grant usage on schema cron, net, vault, pgsodium, pgmq, graphql, graphql_public to postgres with grant option;
grant usage on schema net, vault, pgmq to service_role;
grant usage on schema net to anon, authenticated, supabase_functions_admin;
grant usage on schema basalt to postgres, service_role, supabase_auth_admin;
