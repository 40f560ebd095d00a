"""Image transformation: pictures resized and converted on their way out, in processes of their own.

`parameters` makes a `plan` of a request, `renderer` finds the result in the `cache` or has a process of the `pool`
make it. That side is `worker`, which looks at the bytes (`formats`), places the picture (`geometry`) and lets
`vips_engine` or `pillow_engine` do the rest; both sides speak `job`.
"""

from basalt.storage.images.job import PassedThrough, Rendered
from basalt.storage.images.parameters import (
    choose_format,
    claims_of_transform,
    list_transformations,
    parse_claims,
    parse_query,
)
from basalt.storage.images.plan import Plan
from basalt.storage.images.renderer import Renderer, build_key

__all__ = [
    "PassedThrough",
    "Plan",
    "Rendered",
    "Renderer",
    "build_key",
    "choose_format",
    "claims_of_transform",
    "list_transformations",
    "parse_claims",
    "parse_query",
]
