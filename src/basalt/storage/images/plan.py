"""What is to be done to an image: one value, made from a query, a token or the body that asks for a token.

Processes that work on images import this module too, so it stands alone.
"""

from typing import Final, Literal, get_args

import msgspec

Resize = Literal["cover", "contain", "fill"]
Format = Literal["origin", "avif", "webp"]
Gravity = Literal["no", "so", "ea", "we", "noea", "nowe", "soea", "sowe", "ce", "sm", "fp"]

RESIZES: Final[tuple[Resize, ...]] = get_args(Resize)
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
GRAVITIES: Final[tuple[Gravity, ...]] = get_args(Gravity)
MAX_SIDE: Final = 2000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """None is what nobody asked for. Sides are in pixels, 1 to 2000. Offsets up to 1 are shares of the image, from 1 on
    pixels; with `fp` they are the point that stays in sight."""

    width: int | None = None
    height: int | None = None
    resize: Resize = "cover"
    quality: int | None = None
    format: Format | None = None
    gravity: Gravity | None = None
    x_offset: float | None = None
    y_offset: float | None = None
