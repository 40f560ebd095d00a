-- Undoes 20260106090300_people.sql. Profiles are lost; the accounts in auth.users stay.
-- Cascade takes the triggers on auth.users, whose owner is another role.
drop function private.sync_profile_email() cascade;
drop function private.create_profile() cascade;
drop table public.users;
drop function private.default_plan();
