-- Undoes 20260105090700_leaderboards.sql. Standings are lost; they can be computed again from points_log.
drop function public.refresh_leaderboard(text, date);
drop materialized view public.weekly_leaderboard;
drop function private.standings(timestamptz, timestamptz);
drop function private.leaderboard_period(text, date);
drop table public.leaderboard;
drop function private.display_name(text);
