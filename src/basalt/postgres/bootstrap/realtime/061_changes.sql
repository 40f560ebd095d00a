-- Inserts into realtime.messages come out of the log under the table's own name, whichever partition took them; nothing else
-- of the table is told. The publication is missing on a server that refused it.
do $$
begin
    if exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime_messages_publication') then
        perform pg_temp.attempt(
            'alter publication supabase_realtime_messages_publication
             set (publish = ''insert'', publish_via_partition_root = true)');
    end if;
end
$$;
