-- Routines of every kind that rpc() can call, and those that a table borrows as columns and relationships.

create function public.hello() returns text language sql immutable as $$ select 'hello' $$;

create function public.add_up(a int, b int default 10) returns int language sql immutable as $$ select a + b $$;

create function public.greet(name text) returns text language sql immutable as $$ select 'Hello ' || name $$;
create function public.greet(name text, word text) returns text language sql immutable
as $$ select word || ' ' || name $$;

create function public.twins(x int) returns text language sql immutable as $$ select 'int' $$;
create function public.twins(x text) returns text language sql immutable as $$ select 'text' $$;

create function public.total(variadic numbers int[]) returns bigint language sql immutable
as $$ select sum(n) from unnest(numbers) as n $$;

create function public.doubled(numbers int[]) returns int[] language sql immutable
as $$ select array_agg(n * 2 order by at) from unnest(numbers) with ordinality as _ (n, at) $$;

-- The whole body, and one value of a document.
create function public.mirror(json) returns json language sql immutable as $$ select $1 $$;
create function public.pick(document jsonb, key text) returns text language sql immutable
as $$ select document ->> key $$;

create function public.big_text(n bigint) returns text language sql immutable as $$ select n::text $$;

create function public.rank_above(low public.rank) returns public.rank language sql immutable
as $$ select case low when 'tutti' then 'soloist' else 'principal' end::public.rank $$;

create function public.no_text() returns text language sql immutable as $$ select null::text $$;
create function public.nothing() returns void language sql immutable as $$ select $$;

create function public.address_of(player int) returns public.address language sql stable
as $$ select home from public.players where id = player $$;
create function public.split_name(full_name text, out first text, out rest text) language sql immutable
as $$ select split_part(full_name, ' ', 1), split_part(full_name, ' ', 2) $$;
create function public.player(number int) returns public.players language sql stable
as $$ select * from public.players where id = number $$;

create function public.players_of(section int) returns setof public.players language sql stable
as $$ select * from public.players where section_id = section order by id $$;
create function public.countdown(start int) returns setof int language sql immutable
as $$ select n from generate_series(start, 1, -1) as n $$;
create function public.labelled() returns table (label text, n int) language sql immutable
as $$ values ('one', 1), ('two', 2), (null, 3) $$;

create function public.whoami() returns text language sql stable as $$ select current_user::text $$;
create function public.header_of_request(name text) returns text language sql stable
as $$ select current_setting('request.headers')::json ->> name $$;
create function public.nap(seconds float) returns void language sql as $$ select pg_sleep(seconds) $$;
create function public.has_postgis() returns boolean language sql stable
as $$ select exists (select from pg_catalog.pg_extension where extname = 'postgis') $$;

create function public.rename_ticket(old_seat text, new_note text) returns text language sql
as $$ update public.tickets set note = new_note where seat = old_seat returning note $$;
create function public.tear_tickets(prefix text) returns setof public.tickets language sql
as $$ delete from public.tickets where seat like prefix || '%' returning * $$;

create function public.refuse() returns void language plpgsql as $$
begin
    raise exception 'Not today' using hint = 'Come tomorrow', detail = 'The hall is closed', errcode = 'P0001';
end $$;
create function public.pay_first() returns void language plpgsql as $$
begin
    raise exception 'Payment is due' using hint = 'Buy a ticket', detail = 'Nothing was paid', errcode = 'PT402';
end $$;

-- Unavailable at the first call, and there when the client comes back.
create function public.tired() returns text language plpgsql stable as $$
declare
    retried text := current_setting('request.headers')::json ->> 'x-retry-count';
begin
    if retried is null then
        raise sqlstate 'PGRST' using
            message = '{"code": "TIRED", "message": "Come again", "details": null, "hint": null}',
            detail = '{"status": 503, "headers": {"Retry-After": "0"}}';
    end if;
    return retried;
end $$;

-- A computed column and computed relationships of players.
create function public.initial(public.players) returns text language sql stable as $$ select left($1.name, 1) $$;
create function public.mentor(public.players) returns setof public.players rows 1 language sql stable
as $$ select * from public.players where id = $1.teacher_id $$;
create function public.pupils(public.players) returns setof public.players language sql stable
as $$ select * from public.players where teacher_id = $1.id $$;

-- The planner believes what it is told of a function, so that an estimate is one number everywhere.
create function public.crowd_of() returns setof int rows 500 language plpgsql stable
as $$ begin return query select generate_series(1, 120); end $$;
create view public.crowd as select n from public.crowd_of() as n;
