-- What goes after which time; for schedules. Each works off a bounded number of rows and says how many, so that a caller goes on
-- until nothing is left.
reset role;

create or replace function basalt.archive_notifications(batch_size integer default 10000) returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    archive_after_s double precision := (select s.value from basalt.notify_settings as s where s.name = 'archive_after_s');
    changed bigint;
begin
    with old as (
        select n.id from public.notifications as n
        where n.created_at < now() - make_interval(secs => archive_after_s) and n.archived_at is null
        order by n.created_at limit batch_size for update skip locked)
    update public.notifications as n set archived_at = now() from old where n.id = old.id;
    get diagnostics changed = row_count;
    return changed;
end
$$;

comment on function basalt.archive_notifications(integer) is
    'Archives notifications older than notify.archive_after, read or not. How many; 0 when there are no more.';

create or replace function basalt.delete_old_notifications(batch_size integer default 10000) returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    keep_s double precision := (select s.value from basalt.notify_settings as s where s.name = 'keep_s');
    expired bigint;
    old bigint;
begin
    with gone as (
        select n.id from public.notifications as n where n.expires_at <= now()
        order by n.expires_at limit batch_size for update skip locked)
    delete from public.notifications as n using gone where n.id = gone.id;
    get diagnostics expired = row_count;
    with gone as (
        select n.id from public.notifications as n
        where n.archived_at < now() - make_interval(secs => keep_s)
        order by n.archived_at limit batch_size for update skip locked)
    delete from public.notifications as n using gone where n.id = gone.id;
    get diagnostics old = row_count;
    return expired + old;
end
$$;

comment on function basalt.delete_old_notifications(integer) is
    'Deletes notifications that have expired, and those archived longer ago than notify.keep. How many; 0 when no more.';

create or replace function basalt.delete_old_deliveries(batch_size integer default 10000) returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    horizon timestamptz := now() - make_interval(
        secs => (select s.value from basalt.notify_settings as s where s.name = 'keep_deliveries_s'));
    settled bigint;
    events bigint;
begin
    with gone as (
        select q.id from public.notification_queue as q where q.finished_at < horizon
        order by q.finished_at limit batch_size for update skip locked)
    delete from public.notification_queue as q using gone where q.id = gone.id;
    get diagnostics settled = row_count;
    with gone as (
        select e.id from public.notification_events as e
        where e.triggered_at < horizon and e.scheduled_for < horizon and e.status in ('expanded', 'failed', 'cancelled')
            and not exists (select from public.notification_queue as q where q.event_id = e.id)
        order by e.triggered_at limit batch_size for update skip locked)
    delete from public.notification_events as e using gone where e.id = gone.id;
    get diagnostics events = row_count;
    delete from basalt.early_delivery_reports as r where r.received_at < now() - interval '1 day';
    return settled + events;
end
$$;

comment on function basalt.delete_old_deliveries(integer) is
    'Deletes settled messages with their deliveries after notify.keep_deliveries, and events of which nothing is left. How many.';

create or replace function basalt.note_used_channels(batch_size integer default 10000) returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    changed bigint;
begin
    with used as (
        select q.channel_id as id, max(q.finished_at) as at from public.notification_queue as q
        where q.finished_at > now() - interval '1 day' and q.status in ('sent', 'delivered') and q.channel_id is not null
        group by q.channel_id),
    stale as (
        select c.id, u.at from public.notification_channels as c
        join used as u on u.id = c.id
        where c.last_used_at is null or c.last_used_at < u.at - interval '1 day'
        order by c.id limit batch_size for update of c skip locked)
    update public.notification_channels as c set last_used_at = s.at from stale as s where c.id = s.id;
    get diagnostics changed = row_count;
    return changed;
end
$$;

comment on function basalt.note_used_channels(integer) is
    'Writes down by which channels something was sent within a day, for each once a day at most: a fan-out that wrote it for '
    'every message would write every channel. How many.';

do $$
declare
    routine regprocedure;
begin
    foreach routine in array array[
        'basalt.archive_notifications(integer)', 'basalt.delete_old_notifications(integer)',
        'basalt.note_used_channels(integer)',
        'basalt.delete_old_deliveries(integer)']
    loop
        perform pg_temp.give_to_owner(routine);
        execute format('revoke execute on function %s from public', routine);
        execute format('grant execute on function %s to postgres, service_role', routine);
    end loop;
end
$$;
