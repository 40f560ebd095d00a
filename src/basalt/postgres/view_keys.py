"""Which columns of tables a view shows.

PostgreSQL stores a view's query as a node tree (`pg_rewrite.ev_action`). The parser has already noted on each
entry of the query's target list the relation and column that it comes from, through joins, subqueries and common
table expressions (`resorigtbl`, `resorigcol`; `parse_target.c: markTargetListOrigin`). What is left to do is to
find those entries in the text, and to follow them through views over views.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple


class ColumnOrigin(NamedTuple):
    """A relation's oid and a column's number in it."""

    relation: int
    column: int


ShownColumns = Mapping[ColumnOrigin, tuple[int, ...]]
"""For each column of a table, the numbers of the view's columns that show it."""


def trace_view_columns(
    origins: Mapping[int, Mapping[int, ColumnOrigin]],
) -> dict[int, dict[ColumnOrigin, tuple[int, ...]]]:
    """`origins` are those of each view's columns, one step deep; the answer is down to what is not among the views.

    >>> origins = {20: {1: ColumnOrigin(10, 3), 2: ColumnOrigin(10, 3)}, 30: {1: ColumnOrigin(20, 2)}}
    >>> trace_view_columns(origins)[30]
    {ColumnOrigin(relation=10, column=3): (1,)}
    """
    return {view: _shown_columns(view, origins) for view in origins}


def _shown_columns(
    view: int, origins: Mapping[int, Mapping[int, ColumnOrigin]]
) -> dict[ColumnOrigin, tuple[int, ...]]:
    shown: defaultdict[ColumnOrigin, list[int]] = defaultdict(list)
    for number in sorted(origins[view]):
        shown[_base_column(ColumnOrigin(view, number), origins)].append(number)
    return {origin: tuple(numbers) for origin, numbers in shown.items()}


def _base_column(start: ColumnOrigin, origins: Mapping[int, Mapping[int, ColumnOrigin]]) -> ColumnOrigin:
    """A view can be made to select from itself by `create or replace` through another one; PostgreSQL notices only
    when it is queried, so the walk has to end by itself."""
    seen = {start}
    here = start
    while (further := origins.get(here.relation, {}).get(here.column)) and further not in seen:
        seen.add(further)
        here = further
    return here


# A backslash protects every character that is special to the notation, also within quotes (`outfuncs.c: outToken`).
# So a brace without one is a node, and no name can look like a field, whose blanks have none either. Most nodes have
# no node within them: to take those at once halves the tokens.
_TOKEN = re.compile(r"\{[^{}\\]*+\}|\\.|[{}]| :targetList \(", re.DOTALL)
_TARGET_LIST = " :targetList ("
_NUMBER = re.compile(r" :resno (\d+)(?= )")
_ORIGIN = re.compile(r" :resorigtbl (\d+) :resorigcol (\d+)(?= )")


def parse_column_origins(rule: str) -> dict[int, ColumnOrigin]:
    """The origins of a view's columns, by their numbers, from the node tree of its rule. A computed column has none.

    >>> parse_column_origins(
    ...     "({QUERY :rtable <> :targetList ({TARGETENTRY :expr {VAR :varno 1} :resno 2 :resname a\\\\ \\\\}"
    ...     " :ressortgroupref 0 :resorigtbl 16384 :resorigcol 5 :resjunk false}) :groupClause <>})"
    ... )
    {2: ColumnOrigin(relation=16384, column=5)}
    """
    origins: dict[int, ColumnOrigin] = {}
    for fields in _target_entries(rule):
        number, origin = _NUMBER.search(fields), _ORIGIN.search(fields)
        if number and origin and int(origin[1]):
            origins[int(number[1])] = ColumnOrigin(int(origin[1]), int(origin[2]))
    return origins


def _target_entries(rule: str) -> Iterator[str]:
    """The fields after the expression of each entry in the outermost query's target list. Entries for sorting only,
    which are no columns, have numbers beyond the last column."""
    depth, last_close, is_listed = 0, 0, False
    for token in _TOKEN.finditer(rule):
        text = token[0]
        if text == "{":
            depth += 1
        elif text == "}":
            depth -= 1
            if is_listed and depth == 1:
                yield rule[last_close : token.start()]
                if rule.startswith(")", token.end()):
                    return
            last_close = token.end()
        elif text == _TARGET_LIST:
            is_listed = is_listed or depth == 1
        elif text[0] == "{":
            last_close = token.end()
