"""The grammar of the query string: `select`, filters, logic trees, `order`, JSON paths and name lists.

Hand-written recursive descent over one string with an index (`text`); runs of characters are matched by compiled
expressions, because this stands on every request's path. The language is that of PostgREST's
`ApiRequest/QueryParams.hs`, and so are the errors. As there, what follows a complete value is ignored.
"""

from basalt.rest.grammar.filters import is_operation, parse_filter, parse_logic
from basalt.rest.grammar.names import parse_logic_path, parse_names, parse_path
from basalt.rest.grammar.order import parse_order
from basalt.rest.grammar.select import parse_select

__all__ = [
    "is_operation",
    "parse_filter",
    "parse_logic",
    "parse_logic_path",
    "parse_names",
    "parse_order",
    "parse_path",
    "parse_select",
]
