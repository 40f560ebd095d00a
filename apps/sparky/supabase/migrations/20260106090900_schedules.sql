-- What runs by itself. Each may run twice or late: it does what is due.

create extension if not exists pg_cron with schema pg_catalog;

select cron.schedule('cleanup-cache', '0 3 * * *', 'delete from cache.kv_store where expires_at < now()');
select cron.schedule(
    'cleanup-leases', '5 3 * * *', $$delete from private.leases where lease_until < now() - interval '1 day'$$);
select cron.schedule('advance-subscriptions', '*/5 * * * *', 'select private.advance_subscriptions()');
