"""Lists by pages: numbers in the query, `Link` and `x-total-count` headers in the answer (GoTrue pagination.go)."""

from typing import Final
from urllib.parse import urlencode

from basalt.auth.call import Call
from basalt.auth.errors import AuthError

MAX_PER_PAGE: Final = 10_000
MAX_PAGE: Final = 10**9


def read_page(call: Call, *, default_size: int) -> tuple[int, int]:
    """`page` from 1 on and `per_page`. Raises AuthError validation_failed."""
    page = max(_number(call, "page", 1), 1)
    return page, min(_number(call, "per_page", default_size) or default_size, MAX_PER_PAGE)


def page_headers(call: Call, page: int, per_page: int, total: int) -> list[tuple[str, str]]:
    """What clients page by: `</admin/users?page=2&per_page=50>; rel="next", </admin/users?page=3…>; rel="last"`"""
    pages = -(-total // per_page)

    def link(number: int, relation: str) -> str:
        query = urlencode(sorted({**call.query, "page": str(number)}.items()))
        return f'<{call.request.path}?{query}>; rel="{relation}"'

    links = [link(page + 1, "next")] if pages > page else []
    return [("x-total-count", str(total)), ("link", ", ".join([*links, link(pages, "last")]))]


def _number(call: Call, name: str, default: int) -> int:
    text = call.query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 10 or int(text) > MAX_PAGE:
        message = f'Bad Pagination Parameters: {name} is not a number: "{text[:40]}"'
        raise AuthError("validation_failed", message)
    return int(text)
