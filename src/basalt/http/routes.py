"""Route tables: a service lists method, path, who may call and the handler; a test walks the lists."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from basalt.errors import BasaltError
from basalt.http.request import Request
from basalt.http.response import Response

Handler = Callable[..., Awaitable[Response]]


class Route(NamedTuple):
    """`path` may hold `{name}` segments, handed to `handler(request, **segments)` decoded, and end with `{name*}`,
    which takes the rest of the path with all its slashes. `access` is the service's own word for who may call
    (`public`, `user`, `admin`), checked by the service before the handler runs."""

    method: str
    path: str
    access: str
    handler: Handler


class RouteTable:
    """Looks a route up by its segments: literal ones first, then `{name}`, then `{name*}`. Built once, before the
    first request."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._root: dict[str, Any] = {}
        for route in routes:
            node = self._root
            for segment in _split(route.path):
                node = node.setdefault(_kind(segment), {})
            node.setdefault("", {})[route.method] = route

    def find(self, request: Request) -> tuple[Route, dict[str, str]] | None:
        """`match` for a request, which takes down by which route it is answered."""
        found = self.match(request.method, request.raw_path)
        if found is not None:
            request.route = found[0].path
        return found

    def match(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route for a still percent-encoded `path`, with its decoded segments; None when no route has
        that path. Raises BasaltError method_not_allowed (405) when only the method differs. HEAD falls
        back to GET."""
        segments = _split(path)
        methods = _find(self._root, segments, 0)
        if methods is None or not _has_method(methods, method):
            whole = path.removeprefix("/").split("/")  # in a rest of the path every slash counts
            rest = _find_rest(self._root, whole, 0, method)
            if rest is not None:
                methods, segments = rest, whole
        if methods is None:
            return None
        route = methods.get(method) or (methods.get("GET") if method == "HEAD" else None)
        if route is None:
            allowed = ", ".join(sorted(methods))
            raise BasaltError(
                "method_not_allowed",
                405,
                f"{method} is not allowed here; use {allowed}",
                headers=[("Allow", allowed)],
            )
        patterns = _split(route.path)
        if patterns[-1].endswith("*}"):
            segments = [*segments[: len(patterns) - 1], "/".join(segments[len(patterns) - 1 :])]
        return route, {
            pattern.strip("{*}"): unquote(value)
            for pattern, value in zip(patterns, segments, strict=True)
            if pattern.startswith("{")
        }


def _split(path: str) -> list[str]:
    return path.strip("/").split("/")


def _kind(segment: str) -> str:
    if segment.startswith("{"):
        return "{*}" if segment.endswith("*}") else "{}"
    return segment


def _find(node: dict[str, Any], segments: list[str], index: int) -> dict[str, Route] | None:
    if index == len(segments):
        return node.get("")
    for key in (segments[index], "{}"):
        if key in node and (key != "{}" or segments[index]):
            found = _find(node[key], segments, index + 1)
            if found is not None:
                return found
    return None


def _find_rest(node: dict[str, Any], segments: list[str], index: int, method: str) -> dict[str, Route] | None:
    """The routes of the first path that ends in `{name*}`, fits and has the method; the rest is never empty."""
    if index == len(segments):
        return None
    for key in (segments[index], "{}"):
        if key and key in node and segments[index]:
            found = _find_rest(node[key], segments, index + 1, method)
            if found is not None:
                return found
    methods: dict[str, Route] | None = node.get("{*}", {}).get("")
    fits = methods is not None and segments[index:] != [""] and _has_method(methods, method)
    return methods if fits else None


def _has_method(methods: dict[str, Route], method: str) -> bool:
    return method in methods or (method == "HEAD" and "GET" in methods)
