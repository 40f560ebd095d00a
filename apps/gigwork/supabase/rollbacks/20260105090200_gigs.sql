-- Undoes 20260105090200_gigs.sql. Gigs are lost.
drop function public.search_gigs(text, int, numeric, numeric, numeric, int, int);
drop trigger users_retire_gigs on public.users;
drop function private.retire_gigs();
drop table public.gigs;
drop function private.is_employer();
