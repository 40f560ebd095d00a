-- Queues as Supabase's "Queues" guide has them: one for the back end alone, one where members send and take what is theirs.
create extension if not exists pgmq;

select pgmq.create('foo');
select pgmq.create('requests');

alter table pgmq.q_foo enable row level security;
alter table pgmq.q_requests enable row level security;

create policy "members have their own requests" on pgmq.q_requests
to authenticated
using (message ->> 'member_id' = (select auth.uid())::text)
with check (message ->> 'member_id' = (select auth.uid())::text);

grant select, insert, update, delete on pgmq.q_requests to authenticated;
grant insert on pgmq.a_requests to authenticated;
