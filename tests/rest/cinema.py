"""A hand-made schema cache for tests of the pure part of REST: every kind of column, relationship, routine and media
handler, and names that need quoting."""

from collections.abc import Mapping

from basalt.config import RestSettings
from basalt.postgres import (
    Cardinality,
    Column,
    Junction,
    MediaHandler,
    Name,
    Parameter,
    Relationship,
    Routine,
    RowKind,
    SchemaCache,
    Table,
    Volatility,
)

SCHEMAS = ("public", "other")
STRICT = RestSettings(db_schemas=SCHEMAS, db_extra_search_path=("public",), db_max_rows=1000)
LIBERAL = RestSettings(
    db_schemas=SCHEMAS,
    db_aggregates_enabled=True,
    db_plan_enabled=True,
    db_tx_end="commit-allow-override",
    url_use_legacy_target_names=False,
    app_settings={"tenant": "seven"},
)
ODD = 'odd "name'

_TABLES: Mapping[str, Mapping[str, str]] = {
    "films": {
        "id": "integer", "title": "text", "year": "integer", "price": "numeric(8,2)", "rating": "public.rating",
        "tags": "text[]", "data": "jsonb", "raw": "json", "search": "tsvector", "during": "int4range",
        "made_at": "timestamp with time zone", "is_silent": "boolean", "colour": "public.colour",
        "director_id": "integer", "writer_id": "integer", "sequel_to": "integer",
    },
    "directors": {"id": "integer", "name": "character varying(40)", "born": "date"},
    "actors": {"id": "integer", "name": "text"},
    "roles": {"film_id": "integer", "actor_id": "integer", "part": "text"},
    "awards": {"id": "integer", "film_id": "integer", "name": "text"},
    "details": {"film_id": "integer", "notes": "text"},
    "old_films": {"id": "integer", "title": "text", "director_id": "integer"},
    ODD: {
        "a b": "text", "naïve": "integer", "select": "text", 'x"y': "integer", "back\\slash": "text",
        "film": "integer",
    },
    "bare": {},
}  # fmt: skip
_KEYS: Mapping[str, tuple[str, ...]] = {
    "films": ("id",), "directors": ("id",), "actors": ("id",), "roles": ("film_id", "actor_id"), "awards": ("id",),
    "details": ("film_id",), "old_films": ("id",), ODD: ('x"y', "back\\slash"),
}  # fmt: skip
_DEFAULTS: Mapping[tuple[str, str], str] = {
    ("films", "id"): "nextval('public.films_id_seq'::regclass)",
    ("films", "year"): "2000",
    ("films", "title"): "'it''s new'::text",
    ("films", "data"): "'{}'::jsonb",
    ("films", "made_at"): "now()",
}
_BASE_TYPES = {
    "public.colour": "integer",
    "numeric(8,2)": "numeric",
    "character varying(40)": "character varying",
}


def build_cinema() -> SchemaCache:
    tables = {("public", name): _table(oid, ("public", name)) for oid, name in enumerate(_TABLES, 100)}
    notes = Table(
        200, ("other", "notes"), _columns("notes", {"id": "integer", "body": "text"}), ("id",),
        is_view=False, insertable=True, updatable=True, deletable=True,
    )  # fmt: skip
    relationships: dict[Name, list[Relationship]] = {}
    for one in _relationships():
        relationships.setdefault(one.table, []).append(one)
    routines: dict[Name, list[Routine]] = {}
    for routine in _routines():
        routines.setdefault(routine.name, []).append(routine)
    films = ("public", "films")
    return SchemaCache(
        tables={**tables, notes.name: notes},
        relationships={name: tuple(found) for name, found in relationships.items()},
        routines={name: tuple(found) for name, found in routines.items()},
        representations={
            ("public.colour", "json"): "public.colour_to_json",
            ("json", "public.colour"): "public.json_to_colour",
            ("text", "public.colour"): "public.text_to_colour",
        },
        media_handlers={
            (films, "text/html"): MediaHandler(("public", "films_page"), films, "text/html"),
            (films, "*/*"): MediaHandler(("public", "films_all"), films, "application/vnd.films"),
            (None, "image/png"): MediaHandler(("public", "picture"), None, "image/png", is_binary=True),
        },
    )


def _table(oid: int, name: Name) -> Table:
    is_view = name[1] == "old_films"
    return Table(
        oid,
        name,
        _columns(name[1], _TABLES[name[1]]),
        _KEYS.get(name[1], ()),
        is_view=is_view,
        insertable=not is_view,
        updatable=True,
        deletable=True,
    )


def _columns(table: str, types: Mapping[str, str]) -> dict[str, Column]:
    return {
        name: Column(
            name, type_, _BASE_TYPES.get(type_, type_), nullable=True, default=_DEFAULTS.get((table, name))
        )
        for name, type_ in types.items()
    }


def _relationships() -> list[Relationship]:
    found = [
        *_key("films", "directors", "films_director_id_fkey", ("director_id",)),
        *_key("films", "directors", "films_writer_id_fkey", ("writer_id",)),
        *_key("films", "films", "films_sequel_to_fkey", ("sequel_to",)),
        *_key("awards", "films", "awards_film_id_fkey", ("film_id",)),
        *_key("roles", "films", "roles_film_id_fkey", ("film_id",)),
        *_key("roles", "actors", "roles_actor_id_fkey", ("actor_id",)),
        *_key("details", "films", "details_film_id_fkey", ("film_id",), is_unique=True),
        *_key("old_films", "directors", "films_director_id_fkey", ("director_id",), is_view=True),
        *_key(ODD, "films", 'odd "key', ("film",)),
    ]
    for near, far in (("films", "actors"), ("actors", "films")):
        junction = Junction(
            ("public", "roles"),
            f"roles_{near[:-1]}_id_fkey",
            f"roles_{far[:-1]}_id_fkey",
            (f"{near[:-1]}_id",),
            (f"{far[:-1]}_id",),
        )
        found.append(
            Relationship(
                ("public", near), ("public", far), "many-to-many", "", ("id",), ("id",), junction=junction
            )
        )
    found.append(
        Relationship(
            ("public", "films"),
            ("public", "directors"),
            "many-to-one",
            "",
            routine=("public", "mentor"),
        )
    )
    return found


def _key(
    table: str,
    foreign: str,
    constraint: str,
    columns: tuple[str, ...],
    *,
    is_unique: bool = False,
    is_view: bool = False,
) -> tuple[Relationship, Relationship]:
    """The foreign key from either end."""
    near, far, keys = ("public", table), ("public", foreign), ("id",)
    forward: Cardinality = "one-to-one" if is_unique else "many-to-one"
    back: Cardinality = "one-to-one" if is_unique else "one-to-many"
    is_self = table == foreign
    return (
        Relationship(near, far, forward, constraint, columns, keys, is_self=is_self, is_view=is_view),
        Relationship(
            far, near, back, constraint, keys, columns,
            is_inverse=is_unique, is_self=is_self, is_foreign_view=is_view,
        ),
    )  # fmt: skip


def _routines() -> list[Routine]:
    number, text, film = ("pg_catalog", "int4"), ("pg_catalog", "text"), ("public", "films")
    a, b = _parameter("a", "integer"), _parameter("b", "integer", required=False)
    return [
        _routine("add", (a, b), number),
        _routine("films_of", (_parameter("p_year", "integer"),), film, returns_set=True, kind="composite"),
        _routine("one_film", (_parameter("p_id", "integer"),), film, kind="composite"),
        _routine("pairs", (), ("pg_catalog", "record"), returns_set=True, kind="composite"),
        _routine("names", (_parameter("odd arg", "bit(3)", cast_type="bit varying"),), text, returns_set=True),
        _routine("nothing", (), ("pg_catalog", "void"), kind="void", volatility="volatile"),
        _routine("total", (_parameter("numbers", "integer[]", variadic=True),), number),
        _routine("echo", (_parameter("", "json"),), ("pg_catalog", "json")),
        _routine("shout", (_parameter("", "text"),), text),
        _routine("digest", (_parameter("", "bytea"),), ("pg_catalog", "bytea")),
        _routine("document", (_parameter("", "xml"),), ("pg_catalog", "xml")),
        _routine("twice", (a,), number),
        _routine("twice", (_parameter("a", "text"),), text),
        _routine("touch", (), number, volatility="volatile"),
    ]  # fmt: skip


def _parameter(
    name: str, type_: str, *, cast_type: str | None = None, required: bool = True, variadic: bool = False
) -> Parameter:
    return Parameter(name, type_, cast_type or type_, required, variadic)


def _routine(
    name: str,
    parameters: tuple[Parameter, ...],
    return_type: Name,
    *,
    returns_set: bool = False,
    kind: RowKind = "scalar",
    volatility: Volatility = "stable",
) -> Routine:
    return Routine(
        oid=300,
        name=("public", name),
        parameters=parameters,
        volatility=volatility,
        returns_set=returns_set,
        kind=kind,
        return_type=return_type,
        has_variadic=any(one.variadic for one in parameters),
        settings=(("statement_timeout", "1s"),) if name == "touch" else (),
        isolation="serializable" if name == "touch" else None,
    )
