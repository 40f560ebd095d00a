"""The body around the rows, in the form that was negotiated, built by PostgreSQL."""

from basalt.postgres import Routine
from basalt.rest.plan import Answer
from basalt.rest.sql.text import qualified

# `nullif`: a setting that was local to an earlier transaction reads as the empty string afterwards.
STATUS = "nullif(current_setting('response.status', true), '')"
HEADERS = "nullif(current_setting('response.headers', true), '')"
SETTINGS = f"{STATUS}, {HEADERS}"
RESULT = "pgrst_source"
PAGE = "_postgrest_t"
NO_TOTAL = "null::bigint"

# The names in the first line, empty when there are no rows.
CSV = (
    "(select coalesce(string_agg(a.k, ','), '') from (select json_object_keys(r)::text as k from "
    f"(select row_to_json(hh) as r from {RESULT} as hh limit 1) as s) as a) || E'\\n' || "
    f"coalesce(string_agg(substring({PAGE}::text, 2, length({PAGE}::text) - 2), E'\\n'), '')"
)
GEOJSON = (
    "json_build_object('type', 'FeatureCollection', 'features', "
    f"coalesce(json_agg(st_asgeojson({PAGE})::json), '[]'))"
)


def build_body(answer: Answer, routine: Routine | None = None) -> str:
    """What the page's rows become; scalars of a routine stand in a column of their own."""
    is_scalar = routine is not None and routine.returns_scalar
    rows = PAGE
    if routine is not None and routine.kind != "composite":
        rows = f"{PAGE}.pgrst_scalar"
    is_single = routine is not None and not routine.returns_set
    match answer.form:
        case "nothing":
            return "''::text"
        case "object" | "object_stripped":
            return _build_json(rows, "'null'", first=True, stripped=answer.form == "object_stripped")
        case "json" | "json_stripped":
            empty = "'null'" if is_single else "'[]'"
            return _build_json(rows, empty, first=is_single, stripped=answer.form == "json_stripped")
        case "csv":
            return CSV
        case "geojson":
            return GEOJSON
        case "custom":
            assert answer.handler is not None
            target = answer.handler.target
            page = PAGE if target is None else f"{PAGE}::{qualified(target)}"
            return f"{qualified(answer.handler.routine)}({rows if is_scalar else page})"


def _build_json(rows: str, empty: str, *, first: bool, stripped: bool) -> str:
    text = f"json_agg({rows})" + ("->0" if first else "")
    return f"coalesce({f'json_strip_nulls({text})' if stripped else text}, {empty})"
