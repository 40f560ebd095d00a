"""Whom HTTPS clients trust."""

import ssl
from functools import cache

import httpx2


@cache
def trusted_authorities() -> ssl.SSLContext:
    """The context of this process's HTTP/1.1 clients. Reading the list of authorities costs some 30 ms and 1 MB, so
    that they share it; whoever sets its protocols (ALPN) or certificates takes one of its own."""
    return httpx2.create_ssl_context()
