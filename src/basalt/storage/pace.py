"""What the limit on anonymous requests passes over."""

from typing import Final

from basalt.http import Request

READING: Final = ("/object/", "/render/")
SIGNED: Final = ("/s3", "/object/upload/sign/", "/upload/resumable/sign")


def is_unlimited(request: Request) -> bool:
    """Reading objects, for a page may show hundreds of pictures to a visitor without an account, and what carries a
    signature of its own instead of a token.

    >>> is_unlimited(Request(method="GET", path="/object/public/b/x", receive=None))
    True
    >>> is_unlimited(Request(method="POST", path="/object/b/x", receive=None))
    False
    """
    places = (*READING, *SIGNED) if request.method in ("GET", "HEAD") else SIGNED
    return request.path.startswith(places)
