-- Undoes 20260105090600_achievements.sql. Unlocked achievements are lost; points given for them stay.
drop function public.clock_out(uuid, double precision, double precision);
drop function private.extend_streak(uuid, date);
drop function public.check_achievements(uuid);
drop function private.unlock_achievements(uuid);
drop function public.get_user_stats(uuid);
drop function private.user_stats(uuid);
drop table public.user_achievements;
drop table public.achievements;
