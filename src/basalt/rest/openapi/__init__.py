"""The OpenAPI 2.0 document at the REST root: what the caller may see of one exposed schema. Pure.

`document` puts together `paths` (what can be asked), `parameters` (what several paths share) and `definitions`
(rows and arguments as JSON objects) under the server's address. It says what PostgREST's `Response/OpenAPI.hs`
says, to the word: generators and Supabase's documentation read the notes in it (`<pk/>`, `<fk table=…/>`).
"""

from basalt.rest.openapi.document import render_openapi

__all__ = ["render_openapi"]
