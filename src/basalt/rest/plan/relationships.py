"""Which relationship an embed means: PostgREST's `Plan.hs: findRel`, "Foreign Key Joins on Multiple Foreign Key
Relationships" of its documentation."""

from collections.abc import Sequence

from basalt.postgres import Name, Relationship, SchemaCache
from basalt.rest.errors import RestError, UnknownRelationshipError
from basalt.rest.query import SelectEmbed


def find_relationship(cache: SchemaCache, parent: Name, item: SelectEmbed) -> Relationship:
    """The one relationship that a name and a hint speak of. Raises RestError PGRST200, PGRST201."""
    candidates = [
        found
        for found in cache.relationships.get(parent, ())
        if (found.foreign[0] == parent[0] or found.routine is not None) and _is_meant(found, item)
    ]
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise UnknownRelationshipError(parent, item.relation, item.hint)
    raise _ambiguous(parent, item.relation, candidates)


def _is_meant(found: Relationship, item: SelectEmbed) -> bool:
    target, hint = item.relation, item.hint
    if found.routine is not None:
        return found.routine[1] == target
    names_table = found.foreign[1] == target
    if found.is_self:
        # One key, two directions. The table's name is the many that refer to the one (`children:people(*)`), the
        # column's name the one that is referred to (`parent_id(*)`).
        if hint is None:
            return (names_table and found.cardinality == "one-to-many") or (
                found.columns == (target,) and found.cardinality == "many-to-one"
            )
        if found.junction is not None:
            # either key may be the near one, so only a key says which (`people!person_id(*)`)
            near = found.junction
            is_key = hint == near.near_constraint or near.near_columns == (hint,)
            return names_table and (is_key or hint == near.table[1])
        return (
            names_table
            and found.cardinality == "one-to-many"
            and (found.foreign_columns == (hint,) or hint == found.constraint)
        )
    if hint is None:
        names_key = found.junction is None and (found.constraint == target or found.columns == (target,))
        return names_table or (names_key and not found.is_foreign_view)
    return names_table and _is_hinted(found, hint)


def _is_hinted(found: Relationship, hint: str) -> bool:
    if found.junction is not None:
        return hint == found.junction.table[1]
    return hint == found.constraint or (hint,) in (found.columns, found.foreign_columns)


def _ambiguous(parent: Name, target: str, candidates: Sequence[Relationship]) -> RestError:
    details = [
        {
            "cardinality": found.cardinality,
            "embedding": f"{found.table[1]} with {found.foreign[1]}",
            "relationship": _describe(found),
        }
        for found in candidates
    ]
    options = ", ".join(f"'{found.foreign[1]}!{_clearest_hint(found)}'" for found in candidates)
    hint = (
        f"Try changing '{target}' to one of the following: {options}. "
        "Find the desired relationship in the 'details' key."
    )
    return RestError("PGRST201", details=details, hint=hint, parent=parent[1], child=target)


def _clearest_hint(found: Relationship) -> str:
    if found.junction is None:
        return found.constraint
    return found.junction.near_constraint if found.is_self else found.junction.table[1]


def _describe(found: Relationship) -> str:
    if found.junction is not None:
        junction = found.junction
        return (
            f"{junction.table[1]} using {junction.near_constraint}({', '.join(junction.near_columns)}) "
            f"and {junction.far_constraint}({', '.join(junction.far_columns)})"
        )
    near = f"{found.table[1]}({', '.join(found.columns)})"
    far = f"{found.foreign[1]}({', '.join(found.foreign_columns)})"
    return f"{found.constraint} using {near} and {far}"
