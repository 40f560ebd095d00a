"""Images by libvips. JPEG, WebP and HEIF shrink while they are decoded, and nothing but the result is ever whole in
memory, unless the picture has to be turned."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import pyvips

from basalt.storage.images.formats import fit_format
from basalt.storage.images.geometry import Frame, plan_frame
from basalt.storage.images.job import RefusedError
from basalt.storage.images.plan import Plan
from basalt.storage.images.qualities import QUALITIES

LOADERS: Final = ("Jpeg", "Png", "Webp", "Nsgif", "Tiff", "Heif")
TURNED: Final = range(5, 9)  # EXIF orientations that swap width and height

# One image, one thread, nothing kept; no loader but these (`VIPS_BLOCK_UNTRUSTED` alone would leave some more).
pyvips.cache_set_max(0)
pyvips.block_untrusted_set(True)
pyvips.operation_block_set("VipsForeignLoad", True)
for loader in LOADERS:
    pyvips.operation_block_set(f"VipsForeignLoad{loader}", False)

Save = Callable[[Any, int], bytes]
SAVERS: Final[Mapping[str, Save]] = {
    "jpeg": lambda image, quality: image.jpegsave_buffer(Q=quality, optimize_coding=True, keep="none"),
    "png": lambda image, _: image.pngsave_buffer(keep="none"),
    "gif": lambda image, _: image.gifsave_buffer(keep="none"),
    "webp": lambda image, quality: image.webpsave_buffer(Q=quality, keep="none"),
    "avif": lambda image, quality: image.heifsave_buffer(Q=quality, compression="av1", effort=1, keep="none"),
    "tiff": lambda image, _: image.tiffsave_buffer(compression="deflate", keep="none"),
}


def render(data: bytes, kind: str, plan: Plan, target: str, max_pixels: int) -> tuple[bytes, str, int, int]:
    """Raises RefusedError."""
    try:
        header = _load_header(data, max_pixels)
        frame = plan_frame(plan, *_find_size(header))
        target = fit_format(target, kind, frame.kept_width, frame.kept_height)
        image = _crop(_load_scaled(data, header, frame), frame, plan)
        body = SAVERS[target](image, plan.quality or QUALITIES.get(target, 0))
    except pyvips.Error as error:
        raise RefusedError("invalid", str(error)) from error
    return body, target, image.width, image.height


def _load_header(data: bytes, max_pixels: int) -> Any:
    """The first page; no pixel of it is read."""
    header = pyvips.Image.new_from_buffer(data, "", access="sequential")
    if header.width * header.height > max_pixels:
        raise RefusedError("pixels", f"{header.width} × {header.height}")
    return header


def _find_size(header: Any) -> tuple[int, int]:
    """Upright."""
    is_turned = header.get_typeof("orientation") != 0 and header.get("orientation") in TURNED
    return (header.height, header.width) if is_turned else (header.width, header.height)


def _load_scaled(data: bytes, header: Any, frame: Frame) -> Any:
    """Upright, in sRGB or grey, eight bits. (`thumbnail_buffer` forgets a `fail_on` of its own, libvips 8.18.)"""
    # Asked for without need, the conversion by profiles takes longer than all the rest: 1.6 s for 6 megapixels.
    profile = {"output_profile": "srgb"} if header.get_typeof("icc-profile-data") else {}
    image = pyvips.Image.thumbnail_buffer(
        data, frame.width, height=frame.height, size="force", option_string="fail_on=error", **profile
    )
    if image.interpretation not in ("srgb", "b-w"):
        image = image.colourspace("b-w" if image.interpretation == "grey16" else "srgb")
    return image if image.format == "uchar" else image.cast("uchar")


def _crop(image: Any, frame: Frame, plan: Plan) -> Any:
    if not frame.is_cropped:
        return image
    if plan.gravity == "sm":
        return image.copy_memory().smartcrop(frame.kept_width, frame.kept_height, interesting="attention")
    return image.crop(frame.left, frame.top, frame.kept_width, frame.kept_height)
