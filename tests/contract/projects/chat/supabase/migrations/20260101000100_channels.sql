-- Private channels, and what the database itself says in them.

create policy "members read rooms" on realtime.messages for select to authenticated
    using (realtime.topic() like 'room:%' and extension in ('broadcast', 'presence'));
create policy "members write in rooms" on realtime.messages for insert to authenticated
    with check (realtime.topic() like 'room:%' and realtime.topic() not like 'room:board%');
create policy "everybody has a channel" on realtime.messages for select to authenticated
    using (realtime.topic() = 'user:' || (select auth.uid())::text);
create policy "members of halls only look around" on realtime.messages for select to authenticated
    using (realtime.topic() like 'hall:%' and extension = 'presence');
create policy "members show up in halls" on realtime.messages for insert to authenticated
    with check (realtime.topic() like 'hall:%' and extension = 'presence');
create policy "editors read drafts" on realtime.messages for select to authenticated
    using (realtime.topic() like 'draft:%' and (select auth.jwt() ->> 'is_editor') = 'true');
create policy "members see who is at a draft" on realtime.messages for select to authenticated
    using (realtime.topic() like 'draft:%' and extension = 'presence');
create policy "writers write drafts" on realtime.messages for insert to authenticated
    with check (realtime.topic() like 'draft:%' and (select auth.jwt() ->> 'is_writer') = 'true');

create table public.messages (
    id bigint generated always as identity primary key,
    room text not null,
    body text not null
);

-- As the documentation has it: a trigger with its owner's rights tells the room.
create function public.tell_room() returns trigger language plpgsql security definer set search_path = ''
as $$
begin
    perform realtime.broadcast_changes(
        'room:' || coalesce(new.room, old.room), tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
    return null;
end
$$;
create trigger tell_room after insert or update or delete on public.messages
    for each row execute function public.tell_room();

-- With the rights of whoever calls: the policies above decide.
create function public.announce(content jsonb, event text, topic text, private boolean) returns void language sql
as $$ select realtime.send(content, event, topic, private) $$;

create function public.announce_bytes(content text, event text, topic text) returns void language sql
as $$ select realtime.send_binary(convert_to(content, 'UTF8'), event, topic, true) $$;
