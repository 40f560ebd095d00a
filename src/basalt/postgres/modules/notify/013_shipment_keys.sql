-- An event with a dedup_key of its own takes the queue, and the pages of any other make each message once: what leaves in a
-- shipment needs no key.
reset role;

alter table basalt.notification_shipments drop column if exists dedup_key;
