"""REST: URL → parsed query → plan → SQL → answer, as PostgREST does it.

A request goes through `request` and `grammar` (what was asked), `plan` (what that means in this schema), `sql` (one
statement), `run` (the only step with I/O) and `response` (status and headers around the bytes that PostgreSQL
built). `service` leads it, and spares all but the last two to a request whose shape it knows (`shape`, `literals`).
"""

from basalt.rest.errors import RestError
from basalt.rest.service import RestService

__all__ = ["RestError", "RestService"]
