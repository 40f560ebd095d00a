-- Undoes 20260105090500_timesheets.sql. Hours and pay are lost: keep a dump.
drop function public.withdraw_application(uuid);
drop function public.clock_in(uuid, double precision, double precision);
drop function private.check_at_gig(extensions.geography, extensions.geography);
drop table public.timesheets;
