-- Undoes 20260105090100_people.sql. Profiles are lost; the accounts in auth.users stay.
-- Cascade takes the triggers on auth.users, whose owner is another role.
drop function private.sync_profile_contact() cascade;
drop function private.create_profile() cascade;
drop table public.users;
