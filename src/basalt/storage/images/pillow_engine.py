"""Images by Pillow: where there is no libvips, and for the kinds that libvips does not read. Smart gravity is the
middle here."""

import io
import warnings
from collections.abc import Mapping
from typing import Any, Final

from PIL import AvifImagePlugin, Image, ImageCms, ImageFile

from basalt.storage.images.formats import fit_format
from basalt.storage.images.geometry import Frame, plan_frame
from basalt.storage.images.job import RefusedError
from basalt.storage.images.plan import Plan
from basalt.storage.images.qualities import QUALITIES

ORIENTATION: Final = 0x0112
# By EXIF orientation; from 5 on width and height change places.
UPRIGHT: Final[Mapping[int, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SRGB: Final = ImageCms.createProfile("sRGB")
PROFILED: Final = ("RGB", "RGBA", "L", "CMYK")

warnings.simplefilter("error", Image.DecompressionBombWarning)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def render(data: bytes, kind: str, plan: Plan, target: str, max_pixels: int) -> tuple[bytes, str, int, int]:
    """Raises RefusedError."""
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        return _render(data, kind, plan, target)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise RefusedError("pixels", str(error)) from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders let through whatever hostile bytes make Python raise
        raise RefusedError("invalid", f"{type(error).__name__}: {error}") from error


def _render(data: bytes, kind: str, plan: Plan, target: str) -> tuple[bytes, str, int, int]:
    with Image.open(io.BytesIO(data), formats=[kind.upper()]) as source:
        orientation = _find_orientation(source, kind)
        is_turned = orientation >= 5
        width, height = source.size[::-1] if is_turned else source.size
        frame = plan_frame(plan, width, height)
        scaled = (frame.height, frame.width) if is_turned else (frame.width, frame.height)
        target = fit_format(target, kind, frame.kept_width, frame.kept_height)
        image = _load_scaled(source, scaled)
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    image = _crop(image, frame)
    if target == "bmp":  # of the formats that a transparent source may keep, the one without transparency
        image = _flatten(image)
    return _save(image, target, plan.quality), target, image.width, image.height


def _find_orientation(source: ImageFile.ImageFile, kind: str) -> int:
    """TIFFs turn by themselves."""
    found = 1 if kind == "tiff" else source.getexif().get(ORIENTATION, 1)
    return found if found in UPRIGHT else 1


def _load_scaled(source: ImageFile.ImageFile, size: tuple[int, int]) -> Image.Image:
    """In sRGB or grey, with or without alpha, eight bits."""
    source.draft("RGB", (size[0] * 2, size[1] * 2))  # a JPEG shrinks while it is decoded
    image = _to_srgb(source)
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def _to_srgb(source: ImageFile.ImageFile) -> Image.Image:
    source.load()
    profile = source.info.get("icc_profile")
    image = _to_eight_bits(source)
    if profile and image.mode in PROFILED:
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, own, SRGB, outputMode=mode)
        except (ImageCms.PyCMSError, OSError):  # a profile that is none, or one for another kind of colour
            converted = None
        image = converted or image
    return image if image.mode in ("RGB", "RGBA", "L", "LA") else image.convert("RGB")


def _to_eight_bits(source: Image.Image) -> Image.Image:
    if source.mode.startswith("I;16") or source.mode == "I":
        return source.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if "transparency" in source.info or source.mode in ("PA", "RGBa"):
        return source.convert("RGBA")
    if source.mode == "P":
        return source.convert("RGBA" if source.palette and source.palette.mode == "RGBA" else "RGB")
    return source.convert("L") if source.mode == "1" else source


def _crop(image: Image.Image, frame: Frame) -> Image.Image:
    if not frame.is_cropped:
        return image
    right, bottom = frame.left + frame.kept_width, frame.top + frame.kept_height
    return image.crop((frame.left, frame.top, right, bottom))


def _flatten(image: Image.Image) -> Image.Image:
    """Onto white."""
    if image.mode not in ("RGBA", "LA"):
        return image
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _save(image: Image.Image, target: str, quality: int | None) -> bytes:
    """Nothing of the source's metadata: what is not handed to `save` may still be taken from `info`."""
    image.info = {}
    options: dict[str, Any] = {"quality": quality or QUALITIES[target]} if target in QUALITIES else {}
    match target:
        case "jpeg":
            options["optimize"] = True
        case "avif":
            options |= {"speed": 8, "max_threads": 1}
        case "tiff":
            options["compression"] = "tiff_adobe_deflate"
        case "ico":
            options["sizes"] = [image.size]
    buffer = io.BytesIO()
    image.save(buffer, target.upper(), **options)
    return buffer.getvalue()
