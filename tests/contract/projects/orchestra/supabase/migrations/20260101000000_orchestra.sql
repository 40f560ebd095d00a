-- What is read and never written: sections, their players, and what they play.

create type public.rank as enum ('tutti', 'soloist', 'principal');
create type public.address as (street text, city text);

create table public.sections (id int primary key, name text not null unique);

create table public.players (
    id int primary key,
    name text not null,
    section_id int references public.sections (id),
    teacher_id int references public.players (id),
    rank public.rank,
    instruments text[] not null default '{}',
    details jsonb not null default '{}',
    home public.address,
    tenure daterange,
    fee numeric(8, 2),
    active boolean
);

-- One to one: the key is the reference.
create table public.contracts (
    player_id int primary key references public.players (id),
    salary int not null
);

create table public.concerts (id int primary key, title text not null, seats int4range not null);

-- Many to many, with columns of its own.
create table public.performances (
    player_id int references public.players (id),
    concert_id int references public.concerts (id),
    part text not null,
    fee numeric(8, 2),
    primary key (player_id, concert_id)
);

-- Two references to one table.
create table public.rehearsals (
    id int primary key,
    room text not null,
    leader_id int not null references public.players (id),
    deputy_id int references public.players (id),
    concert_id int references public.concerts (id)
);

create table public.pieces (
    id int primary key,
    title text not null,
    notes text not null,
    search tsvector generated always as (to_tsvector('english', title || ' ' || notes)) stored
);

-- Names that need quotes.
create table public."press cuttings" (
    id int primary key,
    "Head Line" text not null,
    concert_id int references public.concerts (id)
);

create table public.specimens (
    id int primary key,
    big bigint,
    exact numeric(20, 8),
    approximate double precision,
    moment timestamptz,
    day date,
    clock time,
    span interval,
    bytes bytea,
    identifier uuid,
    document json,
    numbers int[],
    letter char(3)
);

-- More rows than max_rows. The planner's figures are exact: it has seen them all.
create table public.houses (id int primary key, name text not null);
create table public.seats (
    id int primary key,
    row_number int not null,
    house_id int not null references public.houses (id)
);

create view public.principals as
select id, name, section_id from public.players where rank = 'principal';

create materialized view public.section_sizes as
select s.id as section_id, count(p.id) as size
from public.sections as s left join public.players as p on p.section_id = s.id group by s.id;

insert into public.sections values (1, 'Strings'), (2, 'Woodwinds'), (3, 'Brass'), (4, 'Percussion');

insert into public.players values
    (
        1, 'Anna', 1, null, 'principal', '{violin,viola}',
        '{"city": "Riga", "born": 1960, "tags": ["bow", "solo"], "languages": {"first": "lv"}}',
        row('Elm 1', 'Riga'), '[1990-01-01,2020-01-01)', 120.50, true
    ),
    (
        2, 'Bruno', 1, 1, 'tutti', '{violin}',
        '{"city": "Rome", "born": 1985, "tags": ["bow"]}',
        row('Oak 2', 'Rome'), '[2010-01-01,2015-01-01)', 80, true
    ),
    (
        3, 'Chloe', 2, null, 'soloist', '{flute,piccolo}',
        '{"city": "Lyon", "born": 1990, "tags": ["air"]}',
        null, '[2015-01-01,)', 95.25, false
    ),
    (4, 'Dora', 2, 3, null, '{oboe}', '{"city": null, "born": 1999}', null, '[2020-06-01,2021-06-01)', null, null),
    (5, 'Emil', 3, 1, 'tutti', '{horn}', '{}', null, null, 80, true),
    (6, 'Fay (Jr), Lee', null, null, null, '{}', '{}', null, null, 0, false);

insert into public.contracts values (1, 5000), (3, 4200);
insert into public.concerts values
    (1, 'Spring Gala', '[100,200)'), (2, 'Summer Night', '[200,500)'), (3, 'Winter Matinee', '[50,100)');
insert into public.performances values
    (1, 1, 'leader', 50), (1, 2, 'solo', 70), (2, 1, 'second', 20), (3, 1, 'flute', 30), (3, 2, 'flute', null);
insert into public.rehearsals values (1, 'Hall A', 1, 2, 1), (2, 'Hall B', 3, null, 1), (3, 'Hall A', 1, 3, 2);
insert into public.pieces (id, title, notes) values
    (1, 'The Planets', 'Seven movements for a large orchestra'),
    (2, 'Bolero', 'One theme repeated by the whole orchestra'),
    (3, 'La Mer', 'Three sketches of the sea');
insert into public."press cuttings" values (1, 'A night to remember', 2), (2, 'Spring is here', 1);
insert into public.specimens values
    (
        1, 9007199254740993, 1234.50000000, 0.1, '2026-02-03 04:05:06.789+00', '2026-02-03', '04:05:06',
        '1 day 02:00:00', '\x00ff41', '6f2c1a9e-0b9d-4a52-9a0e-2f3d6a1b7c55', '{"b": 1,  "a": [true, null]}', '{1,2,null}', 'ab'
    ),
    (2, null, null, null, null, null, null, null, null, null, null, null, null);
insert into public.houses values (1, 'Opera');
insert into public.seats select n, (n - 1) / 15 + 1, 1 from generate_series(1, 150) as n;

refresh materialized view public.section_sizes;
analyze public.seats;

-- Another exposed schema, and one that is not.
create schema archive;
grant usage on schema archive to anon, authenticated, service_role;
create table archive.recordings (id int primary key, title text not null);
insert into archive.recordings values (1, 'Acetate'), (2, 'Shellac');
grant select, insert, delete on archive.recordings to anon, authenticated, service_role;
create function archive.oldest() returns text language sql stable
as $$ select title from archive.recordings order by id limit 1 $$;

create schema cellar;
