-- What a change to a flag leaves behind: its record, and word to the processes that keep flags in memory.

create or replace function flags.record_change() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    subject constant text := case tg_table_name when 'flags' then 'flag' when 'cohorts' then 'cohort' else 'rule' end;
    before constant jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
    after constant jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
    claims constant jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
    headers constant jsonb := nullif(current_setting('request.headers', true), '')::jsonb;
    role constant text := coalesce(nullif(current_setting('role', true), 'none'), session_user);
begin
    insert into flags.audit (changed_by, role, request_id, subject, name, action, before, after)
    values (
        coalesce(nullif(claims ->> 'sub', ''), nullif(current_setting('basalt.actor', true), ''), role), role,
        coalesce(nullif(current_setting('basalt.request_id', true), ''), headers ->> 'x-request-id'), subject,
        coalesce(after, before) ->> case subject when 'rule' then 'flag_name' else 'name' end, lower(tg_op), before, after);
    return null;
end
$$;

comment on function flags.record_change() is 'Writes a change to a flag, a cohort or a rule into flags.audit.';

create or replace function flags.note_change() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    new.updated_at := now();
    return new;
end
$$;

comment on function flags.note_change() is 'Sets updated_at.';

create or replace function flags.tell_of_change() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_notify('basalt_flags', '');
    return null;
end
$$;

comment on function flags.tell_of_change() is 'Notifies the processes that keep flags in memory.';

create or replace trigger flags_note before update on flags.flags
for each row when (new.* is distinct from old.*) execute function flags.note_change();
create or replace trigger cohorts_note before update on flags.cohorts
for each row when (new.* is distinct from old.*) execute function flags.note_change();

create or replace trigger flags_record after insert or delete on flags.flags
for each row execute function flags.record_change();
create or replace trigger flags_record_update after update on flags.flags
for each row when (new.* is distinct from old.*) execute function flags.record_change();
create or replace trigger cohorts_record after insert or delete on flags.cohorts
for each row execute function flags.record_change();
create or replace trigger cohorts_record_update after update on flags.cohorts
for each row when (new.* is distinct from old.*) execute function flags.record_change();
create or replace trigger rules_record after insert or delete on flags.rules
for each row execute function flags.record_change();
create or replace trigger rules_record_update after update on flags.rules
for each row when (new.* is distinct from old.*) execute function flags.record_change();

create or replace trigger flags_tell after insert or update or delete on flags.flags
for each statement execute function flags.tell_of_change();
create or replace trigger cohorts_tell after insert or update or delete on flags.cohorts
for each statement execute function flags.tell_of_change();
create or replace trigger rules_tell after insert or update or delete on flags.rules
for each statement execute function flags.tell_of_change();

revoke execute on function flags.record_change(), flags.note_change(), flags.tell_of_change() from public;
