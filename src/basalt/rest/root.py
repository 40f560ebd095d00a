"""The root: the OpenAPI document of what the caller may see (PostgREST's "OpenAPI")."""

import asyncio

from basalt.access import Caller
from basalt.bounded_dict import BoundedDict
from basalt.config import RestSettings, ServerAddress
from basalt.http import Request, Response
from basalt.postgres import SchemaCache
from basalt.rest.errors import RestError
from basalt.rest.openapi import render_openapi
from basalt.rest.query import ApiRequest
from basalt.rest.visibility import Visibility

DocumentKey = tuple[str, str | None, frozenset[int]]

CONTENT_TYPE = b"application/openapi+json; charset=utf-8"
ACCEPTED = frozenset({"*/*", "application/json", "application/openapi+json"})
MAX_DOCUMENTS = 16


class RootDocuments:
    """Rendered documents, kept until the schema cache changes: one of a large schema takes a second to render."""

    def __init__(self, visibility: Visibility, server: ServerAddress) -> None:
        self._visibility = visibility
        self._server = server
        self._rendered: BoundedDict[DocumentKey, bytes] = BoundedDict(MAX_DOCUMENTS)

    def forget(self) -> None:
        self._rendered = BoundedDict(MAX_DOCUMENTS)  # another one: a thread may be about to fill the old one

    async def answer(
        self, api: ApiRequest, caller: Caller, request: Request, cache: SchemaCache, settings: RestSettings
    ) -> Response:
        """Raises RestError PGRST107, PGRST126."""
        if settings.openapi_mode == "disabled":
            raise RestError("PGRST126")
        if not any(one.name in ACCEPTED for one in api.accept):
            raise RestError("PGRST107", media_types=", ".join(one.name for one in api.accept))
        visible, description = await self._visibility.describe(caller, settings, request, api.schema)
        if settings.openapi_mode == "ignore-privileges":
            visible = _all_of(cache, api.schema)
        key = (api.schema, description, visible)
        kept = self._rendered
        body = kept.get(key)
        if body is None:
            body = kept[key] = await asyncio.to_thread(self._render, cache, settings, *key)
        headers = [(b"content-type", CONTENT_TYPE)]
        if api.profile_sent:
            headers.append((b"content-profile", api.schema.encode()))
        return Response(200, headers, b"" if api.headers_only else body)

    def _render(
        self,
        cache: SchemaCache,
        settings: RestSettings,
        schema: str,
        description: str | None,
        visible: frozenset[int],
    ) -> bytes:
        routines = (one for name, found in cache.routines.items() if name[0] == schema for one in found)
        return render_openapi(
            tables=[one for name, one in cache.tables.items() if name[0] == schema and one.oid in visible],
            routines=[one for one in routines if one.oid in visible],
            relationships=cache.relationships,
            description=description,
            settings=settings,
            server=self._server,
        )


def _all_of(cache: SchemaCache, schema: str) -> frozenset[int]:
    routines = (one.oid for name, found in cache.routines.items() if name[0] == schema for one in found)
    return frozenset({*(one.oid for name, one in cache.tables.items() if name[0] == schema), *routines})
