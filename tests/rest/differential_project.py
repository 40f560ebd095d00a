"""The project that random requests are asked of: films with every kind of column and relationship, rows with nulls,
names that need quotes, and row-level security under which each caller sees something else."""

from typing import Literal, NamedTuple

CONFIG = """
project_id = "differential"
[api]
schemas = ["public"]
max_rows = 1000
[auth]
enabled = false
[edge_runtime]
enabled = false
[studio]
enabled = false
[basalt.rest]
db_aggregates_enabled = true
"""
USER = "7d3e1c5e-0000-4000-8000-000000000001"

MIGRATION = f"""
create type public.rating as enum ('G', 'PG', 'R');
create table public.directors (id int primary key, name text, born int);
create table public.films (
    id int primary key,
    title text,
    year int,
    price numeric(8, 2),
    rating public.rating,
    tags text[],
    data jsonb,
    raw json,
    during int4range,
    made_at timestamptz,
    is_silent boolean,
    "a.b, c" text,
    director_id int references public.directors (id),
    sequel_to int references public.films (id),
    is_public boolean not null,
    owner uuid,
    search tsvector generated always as (to_tsvector('english', coalesce(title, ''))) stored
);
create table public.actors (id int primary key, name text, "né(e)" int);
create table public.roles (
    film_id int references public.films (id),
    actor_id int references public.actors (id),
    part text,
    primary key (film_id, actor_id)
);
create table public.awards (id int primary key, film_id int references public.films (id), name text, year int);
create table public.details (film_id int primary key references public.films (id), notes text, length int);

insert into public.directors
select
    n,
    case when n % 4 > 0 then (array['Lang', 'Murnau', 'Harbou', 'de Mille'])[n % 4 + 1] end,
    nullif(1880 + n % 5, 1884)
from generate_series(1, 7) as n;
insert into public.films
select
    n,
    case when n % 9 > 0 then
        (array['The cat runs', 'M', 'Dogs and cats', 'met*opolis', 'A "quoted", one', 'Sunrise'])[n % 6 + 1]
    end,
    nullif(1920 + n % 7, 1923),
    nullif(n % 11 * 1.25, 0),
    (array['G', 'PG', 'R', null])[n % 4 + 1]::public.rating,
    case n % 5 when 0 then null when 1 then '{{}}' when 2 then '{{silent}}' when 3 then '{{silent,crime}}'
        else '{{"a,b",crime}}' end::text[],
    case n % 6 when 0 then null when 1 then '{{"a": 1}}' when 2 then '{{"a": {{"b": "x"}}, "list": [1, 2]}}'
        when 3 then '{{"a": null}}' when 4 then '[{{"a": 1}}, 2]' else '{{"a": "x", "n": 5}}' end::jsonb,
    case n % 3 when 0 then null when 1 then '{{"a": "x"}}' else '{{"a": {{"b": 2}}}}' end::json,
    case when n % 4 > 0 then int4range(n % 7, n % 7 + n % 4) end,
    case when n % 8 > 0 then timestamptz '1930-01-01 00:00:00+00' + n * interval '1 day 3 hours' end,
    (array[true, false, null])[n % 3 + 1],
    case when n % 2 = 0 then 'v' || n % 3 end,
    nullif(n % 8, 0),
    case when n % 3 = 0 then n / 3 end,
    n % 4 <> 3,
    case when n % 5 < 2 then '{USER}'::uuid end
from generate_series(1, 40) as n;
insert into public.actors
select n, (array['Helm', 'Lorre', null, 'Froehlich', 'Helm'])[n % 5 + 1], n % 3 from generate_series(1, 9) as n;
insert into public.roles
select f, a, case when (f + a) % 4 > 0 then 'part ' || (f * a) % 5 end
from generate_series(1, 40) as f, generate_series(1, 9) as a where (f * a + f) % 5 = 0;
insert into public.awards
select n, nullif(n % 14, 0), (array['Oscar', 'Bear', null])[n % 3 + 1], 1925 + n % 4 from generate_series(1, 30) as n;
insert into public.details
select n, case when n % 3 > 0 then 'notes ' || n % 4 end, n * 10 from generate_series(1, 40, 2) as n;

alter table public.films enable row level security;
create policy "everybody sees what is public" on public.films for select using (is_public);
create policy "owners see their own" on public.films for select using (owner = (select auth.uid()));
alter table public.awards enable row level security;
create policy "users see all awards" on public.awards for select to authenticated using (true);
create policy "visitors see old awards" on public.awards for select to anon using (year < 1927);
alter table public.roles enable row level security;
create policy "parts are known to users" on public.roles for select
    using (part is not null or (select auth.uid()) is not null);
"""
FILES = {"config.toml": CONFIG, "20260101000000_films.sql": MIGRATION}

# What is in it

Type = Literal[
    "int", "text", "numeric", "enum", "array", "jsonb", "json", "range", "time", "bool", "uuid", "tsvector"
]

TABLES: dict[str, dict[str, Type]] = {
    "directors": {"id": "int", "name": "text", "born": "int"},
    "films": {
        "id": "int", "title": "text", "year": "int", "price": "numeric", "rating": "enum", "tags": "array",
        "data": "jsonb", "raw": "json", "during": "range", "made_at": "time", "is_silent": "bool", "a.b, c": "text",
        "director_id": "int", "sequel_to": "int", "is_public": "bool", "owner": "uuid", "search": "tsvector",
    },
    "actors": {"id": "int", "name": "text", "né(e)": "int"},
    "roles": {"film_id": "int", "actor_id": "int", "part": "text"},
    "awards": {"id": "int", "film_id": "int", "name": "text", "year": "int"},
    "details": {"film_id": "int", "notes": "text", "length": "int"},
}  # fmt: skip
KEYS = {
    "directors": ("id",), "films": ("id",), "actors": ("id",), "roles": ("film_id", "actor_id"), "awards": ("id",),
    "details": ("film_id",),
}  # fmt: skip


class Link(NamedTuple):
    """A relationship: how a request names it, and the columns that meet. `via` are the junction, its column for the
    parent and its column for the target."""

    parent: str
    target: str
    relation: str
    hint: str | None
    is_to_one: bool
    here: str
    there: str
    via: tuple[str, str, str] | None = None

    @property
    def written(self) -> str:
        return self.relation if self.hint is None else f"{self.relation}!{self.hint}"


LINKS = (
    Link("films", "directors", "directors", None, True, "director_id", "id"),
    Link("films", "directors", "directors", "films_director_id_fkey", True, "director_id", "id"),
    Link("films", "directors", "director_id", None, True, "director_id", "id"),
    Link("directors", "films", "films", None, False, "id", "director_id"),
    Link("films", "awards", "awards", None, False, "id", "film_id"),
    Link("awards", "films", "films", "film_id", True, "film_id", "id"),
    Link("films", "actors", "actors", None, False, "id", "id", ("roles", "film_id", "actor_id")),
    Link("films", "actors", "actors", "roles", False, "id", "id", ("roles", "film_id", "actor_id")),
    Link("actors", "films", "films", None, False, "id", "id", ("roles", "actor_id", "film_id")),
    Link("films", "roles", "roles", None, False, "id", "film_id"),
    Link("roles", "films", "films", None, True, "film_id", "id"),
    Link("roles", "actors", "actors", None, True, "actor_id", "id"),
    Link("actors", "roles", "roles", None, False, "id", "actor_id"),
    Link("films", "details", "details", None, True, "id", "film_id"),
    Link("details", "films", "films", None, True, "film_id", "id"),
    Link("films", "films", "sequel_to", None, True, "sequel_to", "id"),
    Link("films", "films", "films", "sequel_to", False, "id", "sequel_to"),
)
