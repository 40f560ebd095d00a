-- Undoes 20260106090500_credits.sql. The log is lost, and with it every balance.
drop function public.adjust_credits(uuid, int, text, text);
drop trigger users_welcome on public.users;
drop function private.welcome();
drop function private.change_credits(uuid, int, text, text);
drop table public.credit_log;
drop function private.refuse_log_change();
drop function private.add_credits_to_balance();
drop function private.low_credits();
update public.users set credits = 0 where credits > 0;
