"""Content negotiation: from `Accept` to what PostgreSQL shall build. PostgREST's `Plan/Negotiate.hs` and "Media Type
Handlers" of its documentation."""

from dataclasses import dataclass
from typing import Literal

from basalt.postgres import MediaHandler, Name, SchemaCache
from basalt.rest.errors import RestError
from basalt.rest.media import JSON, SINGULAR, STRIPPED_ARRAY, STRIPPED_SINGULAR
from basalt.rest.query import ApiRequest, MediaRange, PlanOptions

Form = Literal["json", "json_stripped", "object", "object_stripped", "csv", "geojson", "custom", "nothing"]

VENDORED: dict[str, Form] = {
    SINGULAR: "object",
    STRIPPED_SINGULAR: "object_stripped",
    STRIPPED_ARRAY: "json_stripped",
}
BUILT_IN: dict[str, tuple[Form, str]] = {
    "*/*": ("json", JSON),
    JSON: ("json", JSON),
    "text/csv": ("csv", "text/csv"),
    "application/geo+json": ("geojson", "application/geo+json"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """`form` is what to build, `media_type` what to call it. With `plan` the statement is explained instead. An answer
    without rows (`Prefer: return=minimal`, HEAD) has the form "nothing"."""

    form: Form
    media_type: str
    handler: MediaHandler | None = None
    plan: PlanOptions | None = None

    @property
    def is_singular(self) -> bool:
        return self.media_type in (SINGULAR, STRIPPED_SINGULAR)


def negotiate(
    request: ApiRequest, cache: SchemaCache, identifier: Name, *, selects_all: bool, allows_plan: bool
) -> Answer:
    """The first acceptable media type wins. Raises RestError PGRST107 with what was asked for."""
    for wanted in request.accept:
        answer = _match(wanted, cache, identifier, selects_all=selects_all, allows_plan=allows_plan)
        if answer is not None:
            if _has_no_rows(request):
                return Answer("nothing", answer.media_type, plan=answer.plan)
            return answer
    raise RestError("PGRST107", media_types=", ".join(one.name for one in request.accept))


def _has_no_rows(request: ApiRequest) -> bool:
    if request.action in ("insert", "update", "delete", "upsert_one"):
        return request.preferences.representation != "full"
    return request.headers_only


def _match(
    wanted: MediaRange, cache: SchemaCache, identifier: Name, *, selects_all: bool, allows_plan: bool
) -> Answer | None:
    if wanted.plan is None:
        return _find_handler(wanted.name, cache, identifier, selects_all=selects_all)
    if not allows_plan:
        return None
    found = _find_handler(wanted.plan.wanted, cache, identifier, selects_all=selects_all)
    return found and Answer(found.form, wanted.name, found.handler, wanted.plan)


def _find_handler(name: str, cache: SchemaCache, identifier: Name, *, selects_all: bool) -> Answer | None:
    """A handler for everything of this table, one for this media type, one for any table, then Basalt's own."""
    if name in VENDORED:
        return Answer(VENDORED[name], name)
    handlers = cache.media_handlers
    if handlers:
        keys: list[tuple[Name | None, str]] = [(None, name)]
        if selects_all:
            keys = [(identifier, "*/*"), (identifier, name), *keys]
        for key in keys:
            found = handlers.get(key)
            if found is not None:
                return Answer("custom", found.media_type, found)
    form = BUILT_IN.get(name)
    return Answer(*form) if form else None
