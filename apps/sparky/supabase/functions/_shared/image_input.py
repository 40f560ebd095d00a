"""Pictures in and out: what came from outside is decoded within bounds, stands upright, is sRGB and says nothing else.

A decoded picture has the mode RGB or RGBA and no metadata: neither place nor camera nor thumbnail of the original.
"""

from dataclasses import dataclass
from io import BytesIO

from _shared.errors import error
from PIL import Image, ImageCms, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_BYTES = 10 * 1024 * 1024
MAX_SIDE = 8192
MAX_PIXELS = 16_800_000  # 4096 × 4096 fits
MIN_SIDE = 16
MAX_RESULT_BYTES = 20 * 1024 * 1024
WEBP_QUALITY = 92
SRGB = ImageCms.createProfile("sRGB")


@dataclass(frozen=True)
class Encoded:
    """A picture as it is stored or sent; the suffix goes with the type."""

    body: bytes
    content_type: str
    suffix: str


@dataclass(frozen=True)
class Picture:
    """`is_lossless`: it came as PNG, and its results shall lose nothing either."""

    image: Image.Image
    is_lossless: bool


def decode_picture(raw: bytes, *, max_bytes: int = MAX_BYTES) -> Picture:
    """Raises IMAGE_TOO_LARGE (413) before anything is unpacked, and INVALID_IMAGE (422)."""
    if len(raw) > max_bytes:
        raise error("IMAGE_TOO_LARGE", f"A picture may have {max_bytes // 1024 // 1024} MiB")
    try:
        with Image.open(BytesIO(raw), formats=FORMATS) as opened:
            _check_size(opened.size)
            is_lossless = opened.format == "PNG"
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            return Picture(_plain(upright), is_lossless)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise error("IMAGE_TOO_LARGE", f"A picture may have {MAX_PIXELS:,} pixels") from exc
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
    ) as exc:
        raise error("INVALID_IMAGE") from exc


def encode_picture(image: Image.Image, *, is_lossless: bool) -> Encoded:
    """As PNG or WebP, without metadata. Raises IMAGE_TOO_LARGE (413)."""
    kind = "png" if is_lossless else "webp"
    options = {"optimize": False} if is_lossless else {"quality": WEBP_QUALITY, "method": 3}
    body = _save(image, kind.upper(), **options)
    if len(body) > MAX_RESULT_BYTES and is_lossless:
        return encode_picture(image, is_lossless=False)
    if len(body) > MAX_RESULT_BYTES:
        raise error("IMAGE_TOO_LARGE", f"The result would have {len(body):,} bytes")
    return Encoded(body, f"image/{kind}", kind)


def encode_for_model(image: Image.Image, *, max_side: int = 3072) -> Encoded:
    """As JPEG for somebody else's model: upright, without metadata, no larger than it looks at."""
    small = image.convert("RGB")
    small.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return Encoded(_save(small, "JPEG", quality=92), "image/jpeg", "jpg")


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise error(
            "IMAGE_TOO_LARGE",
            f"A picture may have {MAX_SIDE} pixels a side and {MAX_PIXELS:,} in all",
            details={"width": width, "height": height},
        )
    if width < MIN_SIDE or height < MIN_SIDE:
        raise error(
            "INVALID_IMAGE",
            f"A picture has at least {MIN_SIDE} pixels a side",
            details={"width": width, "height": height},
        )


def _plain(image: Image.Image) -> Image.Image:
    """RGB or RGBA in sRGB, a copy without `info`."""
    profile = image.info.get("icc_profile")
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    if profile and image.mode in ("RGB", "RGBA", "CMYK", "L"):
        image = _to_srgb(image, profile)
    plain = image.convert("RGBA" if has_alpha else "RGB")
    plain.info = {}
    return plain


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The colours that the picture means; as they stand when its profile is no good."""
    try:
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        return (
            ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(BytesIO(profile)), SRGB, outputMode=mode
            )
            or image
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
