"""A schema cache made by hand, and a request's way over it to its plan and statement: for tests without a database.

Two schemas, `public` and `backstage`. Films have two keys to directors, which makes an embed ambiguous; roles are the
junction of films and actors; people and friendships point back at people.
"""

from itertools import count
from typing import Any

from basalt.config import RestSettings
from basalt.http import Headers, Request
from basalt.postgres import Column, MediaHandler, Name, Parameter, Relationship, Routine, SchemaCache, Table
from basalt.postgres.schema_relationships import ForeignKey, KeyEnd, build_relationships
from basalt.rest.query import ApiRequest
from basalt.rest.request import parse_request
from basalt.rest.run import Prepared, prepare
from basalt.rest.shape import values_of

SCHEMAS = ("public", "backstage")
SETTINGS = RestSettings(db_schemas=SCHEMAS)
AGGREGATES = RestSettings(db_schemas=SCHEMAS, db_aggregates_enabled=True)

_oids = count(1)


def a_table(name: str, columns: str, *, key: str = "id", schema: str = "public", **changes: Any) -> Table:
    """`columns` as in `id integer, year integer = 2000`, with a default behind `=`; `key` as in `film_id actor_id`."""
    found = [_column(one) for one in columns.split(", ")]
    members: dict[str, Any] = {
        "oid": next(_oids),
        "name": (schema, name),
        "columns": {one.name: one for one in found},
        "primary_key": tuple(key.split()),
        "is_view": False,
        "insertable": True,
        "updatable": True,
        "deletable": True,
    }
    return Table(**{**members, **changes})


def _column(text: str) -> Column:
    declared, _, default = text.partition(" = ")
    name, _, type_name = declared.rpartition(" ")
    return Column(name, type_name, type_name, nullable=True, default=default or None)


def a_routine(name: str, parameters: str = "", **changes: Any) -> Routine:
    """`parameters` as in `a integer, b integer?`: `?` has a default, `_` no name, and `variadic` goes before."""
    members: dict[str, Any] = {
        "oid": next(_oids),
        "name": ("public", name),
        "parameters": tuple(_parameter(one) for one in parameters.split(", ") if one),
        "volatility": "stable",
        "returns_set": False,
        "kind": "scalar",
        "return_type": ("pg_catalog", "int4"),
    }
    return Routine(**{**members, **changes})


def _parameter(text: str) -> Parameter:
    is_variadic = text.startswith("variadic ")
    name, _, type_name = text.removeprefix("variadic ").partition(" ")
    kind = type_name.removesuffix("?")
    is_required = not (is_variadic or type_name.endswith("?"))
    return Parameter("" if name == "_" else name, kind, kind, is_required, is_variadic)


def a_key(constraint: str, near: str, far: str, *, is_unique: bool = False) -> ForeignKey:
    """A foreign key, as in `a_key("films_director_id_fkey", "films(director_id)", "directors(id)")`."""
    return ForeignKey(constraint, _end(near), _end(far), is_unique)


def _end(text: str) -> KeyEnd:
    table, _, columns = text.removesuffix(")").partition("(")
    schema, _, name = table.rpartition(".")
    names = tuple(columns.split())
    return KeyEnd(0, (schema or "public", name), names, tuple(range(1, len(names) + 1)))


def a_cache(
    tables: list[Table],
    keys: list[ForeignKey],
    routines: list[Routine] | None = None,
    computed: list[Relationship] | None = None,
    **more: Any,
) -> SchemaCache:
    by_name = {one.name: one for one in tables}
    overloads: dict[Name, tuple[Routine, ...]] = {}
    for one in routines or []:
        overloads[one.name] = (*overloads.get(one.name, ()), one)
    relationships = build_relationships(keys, {}, by_name, computed or [], SCHEMAS)
    return SchemaCache(tables=by_name, relationships=relationships, routines=overloads, **more)


TABLES = [
    a_table("directors", "id integer, name text, born integer"),
    a_table(
        "films",
        "id integer = nextval('films_id_seq'), title text, year integer = 2000, price numeric, tags text[], "
        "data jsonb, search tsvector, director_id integer, writer_id integer",
    ),
    a_table("actors", "id integer, name text"),
    a_table("roles", "film_id integer, actor_id integer, part text", key="actor_id film_id"),
    a_table("awards", "id integer, film_id integer, name text"),
    a_table("details", "film_id integer, plot text", key="film_id"),
    a_table("people", "id integer, name text, parent_id integer"),
    a_table("friendships", "person_id integer, friend_id integer", key="friend_id person_id"),
    a_table("logs", "line text", key=""),
    a_table("rooms", "id integer, colour public.colour"),
    a_table("notes", "id integer, body text", schema="backstage"),
    a_table('we"ird', 'id integer, a"b text, C d text'),
]
KEYS = [
    a_key("films_director_id_fkey", "films(director_id)", "directors(id)"),
    a_key("films_writer_id_fkey", "films(writer_id)", "directors(id)"),
    a_key("roles_film_id_fkey", "roles(film_id)", "films(id)"),
    a_key("roles_actor_id_fkey", "roles(actor_id)", "actors(id)"),
    a_key("awards_film_id_fkey", "awards(film_id)", "films(id)"),
    a_key("details_film_id_fkey", "details(film_id)", "films(id)", is_unique=True),
    a_key("people_parent_id_fkey", "people(parent_id)", "people(id)"),
    a_key("friendships_person_id_fkey", "friendships(person_id)", "people(id)"),
    a_key("friendships_friend_id_fkey", "friendships(friend_id)", "people(id)"),
]
FILM = {"kind": "composite", "return_type": ("public", "films")}
ROUTINES = [
    a_routine("add", "a integer, b integer?"),
    a_routine("greet"),
    a_routine("greet", "name text"),
    a_routine("greet", "first text, last text?"),
    a_routine("same", "a integer"),
    a_routine("same", "a text"),
    a_routine("total", "variadic numbers integer[]"),
    a_routine("take_json", "_ json"),
    a_routine("take_text", "_ text"),
    a_routine("take_xml", "_ xml"),
    a_routine("take_bytes", "_ bytea"),
    a_routine("take_any", "_ jsonb"),
    a_routine("take_any", "a integer"),
    a_routine("films_of", "year integer", returns_set=True, **FILM),
    a_routine("one_film", "id integer", **FILM),
    a_routine("numbers", returns_set=True),
    a_routine("nothing", kind="void", volatility="volatile", return_type=("pg_catalog", "void")),
    a_routine(
        "hoisting",
        volatility="volatile",
        settings=(("statement_timeout", "10s"),),
        isolation="serializable",
    ),
]
COMPUTED = [
    Relationship(
        table=("public", "films"),
        foreign=("public", "awards"),
        cardinality="one-to-many",
        constraint="best_awards",
        routine=("public", "best_awards"),
    )
]
CACHE = a_cache(
    TABLES,
    KEYS,
    ROUTINES,
    COMPUTED,
    representations={
        ("public.colour", "json"): "public.colour_to_json",
        ("json", "public.colour"): "public.colour_from_json",
        ("text", "public.colour"): "public.colour_from_text",
    },
    media_handlers={
        (None, "text/html"): MediaHandler(("public", "page"), None, "text/html"),
        (("public", "films"), "application/x-films"): MediaHandler(
            ("public", "film_list"), ("public", "films"), "application/x-films", is_binary=True
        ),
        (("public", "directors"), "*/*"): MediaHandler(
            ("public", "anything"), ("public", "directors"), "application/octet-stream"
        ),
    },
)


async def _no_body() -> Any:
    raise AssertionError("nothing here does I/O")


def make_request(method: str, target: str, headers: dict[str, str] | None = None) -> Request:
    path, _, query = target.partition("?")
    raw = [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    return Request(
        method=method,
        path=path,
        raw_path=path,
        query_string=query.encode(),
        headers=Headers(raw),
        receive=_no_body,
    )


def ask(
    method: str, target: str, headers: dict[str, str] | None = None, body: bytes | None = None
) -> ApiRequest:
    request = make_request(method, target, headers)
    return parse_request(request, body, schemas=SCHEMAS, allow_transaction=True)


def prepared(
    method: str,
    target: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    *,
    settings: RestSettings = SETTINGS,
    cache: SchemaCache = CACHE,
) -> Prepared:
    return prepare(ask(method, target, headers, body), cache, settings)


def parameters(found: Prepared) -> tuple[bytes | None, ...]:
    """What is sent beside the text, with the values of the request itself."""
    return found.statement.render(values_of(found.api))
