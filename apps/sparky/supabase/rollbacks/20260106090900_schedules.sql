-- Undoes 20260106090900_schedules.sql. pg_cron stays: others may use it.
select cron.unschedule('advance-subscriptions');
select cron.unschedule('cleanup-leases');
select cron.unschedule('cleanup-cache');
