"""What a caller may have meant: hints for unknown tables, routines and relationships, PostgREST's `Error.hs`.

A hint never names what the role cannot see, so that errors are no way to read a schema: only names that are visible
to the role are candidates.
"""

from collections.abc import Iterable, Set
from typing import TYPE_CHECKING

from basalt.late import LateModule
from basalt.postgres import Name, SchemaCache
from basalt.rest.errors import (
    UnknownNameError,
    UnknownRelationshipError,
    UnknownRoutineError,
    UnknownTableError,
)

if TYPE_CHECKING:
    from rapidfuzz import process
    from rapidfuzz.distance import Levenshtein
else:  # 3 MB for the first name that nobody knows
    process = LateModule("rapidfuzz.process")
    Levenshtein = LateModule("rapidfuzz.distance.Levenshtein")

CLOSE = 0.75  # of names that are nobody's business unless nearly written
ALIKE = 0.33


def find_hint(error: UnknownNameError, cache: SchemaCache, visible: Set[int]) -> str | None:
    """`visible` holds the oids of the tables and routines that the role may use."""
    match error:
        case UnknownTableError():
            schema, name = error.table
            near = closest(name, _visible_tables(cache, schema, visible), CLOSE)
            return f"Perhaps you meant the table '{schema}.{near}'" if near else None
        case UnknownRelationshipError():
            return _hint_relationship(error, cache, visible)
        case UnknownRoutineError():
            return _hint_routine(error, cache, visible)
    return None


def _visible_tables(cache: SchemaCache, schema: str, visible: Set[int]) -> Iterable[str]:
    return (name for (owner, name), table in cache.tables.items() if owner == schema and table.oid in visible)


def _hint_relationship(error: UnknownRelationshipError, cache: SchemaCache, visible: Set[int]) -> str | None:
    schema, parent = error.parent
    if error.parent in cache.relationships:
        children = [
            found.foreign[1]
            for found in cache.relationships[error.parent]
            if _is_visible(cache, found.foreign, visible)
        ]
        near = None if error.child in children else closest(error.child, children, ALIKE)
        return f"Perhaps you meant '{near}' instead of '{error.child}'." if near else None
    if error.parent in cache.tables:
        return None  # it is there, and has no relationships
    parents = (
        name
        for owner, name in cache.relationships
        if owner == schema and _is_visible(cache, (owner, name), visible)
    )
    near = closest(parent, parents, ALIKE)
    return f"Perhaps you meant '{near}' instead of '{parent}'." if near else None


def _is_visible(cache: SchemaCache, table: Name, visible: Set[int]) -> bool:
    return table in cache.tables and cache.tables[table].oid in visible


def _hint_routine(error: UnknownRoutineError, cache: SchemaCache, visible: Set[int]) -> str | None:
    if error.takes_raw_body:
        return None
    schema, name = error.routine
    overloads = [one for one in cache.routines.get(error.routine, ()) if one.oid in visible]
    if overloads:
        lists = (_listed(parameter.name for parameter in one.parameters) for one in overloads)
        near = closest(_listed(error.given), lists, ALIKE)
        return f"Perhaps you meant to call the function {schema}.{name}{near}" if near else None
    names = (
        known
        for (owner, known), routines in cache.routines.items()
        if owner == schema and any(one.oid in visible for one in routines)
    )
    near = closest(name, names, CLOSE)
    return f"Perhaps you meant to call the function {schema}.{near}" if near else None


def _listed(names: Iterable[str]) -> str:
    return f"({', '.join(sorted(names))})"


def closest(wanted: str, names: Iterable[str], least: float) -> str | None:
    """The name most like `wanted`, if any is at least so much alike (1 is the same but for case).

    >>> closest("film", ["films", "actors"], 0.75)
    'films'
    >>> closest("film", ["roles"], 0.75) is None
    True
    """
    found = process.extractOne(
        wanted,
        list(names),
        scorer=Levenshtein.normalized_similarity,
        processor=str.lower,
        score_cutoff=least,
    )
    return found[0] if found else None
