"""Pages by number, with the `Link` and `x-total-count` headers that clients page by (GoTrue pagination.go)."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from basalt.auth.call import Call
from basalt.auth.errors import AuthError

DEFAULT_PER_PAGE: Final = 50
MAX_PER_PAGE: Final = 10_000
MAX_PAGE: Final = 10**9


@dataclass(frozen=True, slots=True)
class Page:
    """`number` counts from 1."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size


def read_page(call: Call, *, default_size: int = DEFAULT_PER_PAGE) -> Page:
    """`page` and `per_page` of the query. Raises AuthError validation_failed."""
    number = max(_read_number(call, "page", 1), 1)
    size = _read_number(call, "per_page", default_size) or default_size
    return Page(number, min(size, MAX_PER_PAGE))


def page_headers(call: Call, page: Page, total: int) -> list[tuple[str, str]]:
    """`</admin/users?page=2&per_page=50>; rel="next", </admin/users?page=3…>; rel="last"`"""
    pages = -(-total // page.size)

    def link(number: int, relation: str) -> str:
        query = urlencode(sorted({**call.query, "page": str(number)}.items()))
        return f'<{call.request.path}?{query}>; rel="{relation}"'

    links = [link(page.number + 1, "next")] if pages > page.number else []
    return [("x-total-count", str(total)), ("link", ", ".join([*links, link(pages, "last")]))]


def _read_number(call: Call, name: str, default: int) -> int:
    text = call.query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 10 or int(text) > MAX_PAGE:
        message = f'Bad Pagination Parameters: {name} is not a number: "{text[:40]}"'
        raise AuthError("validation_failed", message)
    return int(text)
