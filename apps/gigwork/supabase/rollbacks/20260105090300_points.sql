-- Undoes 20260105090300_points.sql. The log is lost, and with it every balance.
drop function public.increment_user_points(uuid, int, text, uuid);
drop function private.award_points(uuid, int, text, uuid);
drop table public.points_log;
drop function private.refuse_log_change();
drop function private.add_points_to_balance();
update public.users set total_points = 0 where total_points > 0;
