"""Requests that prove themselves by a provider's signature instead of a key."""

from basalt.http import Request


def is_signed(request: Request) -> bool:
    """A provider reports each mail of a campaign by a request of its own, from a few addresses: no limit for visitors
    fits that.

    >>> is_signed(Request(method="POST", path="/webhooks/resend", receive=None))
    True
    >>> is_signed(Request(method="POST", path="/events", receive=None))
    False
    """
    return request.method == "POST" and request.path.startswith("/webhooks/")
