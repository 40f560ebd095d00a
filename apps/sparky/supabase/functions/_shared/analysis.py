"""The analyses of the local preview: figures that follow from the pixels, and nothing about who is in the picture.

It finds no faces: no small package of a face detector comes with its model (opencv-python-headless, 61 MB, has had none
inside since version 5), so it says `"face": null` and why.
"""

from collections.abc import Callable, Mapping, Sequence
from math import atan2, degrees
from typing import Any

from _shared.errors import error
from _shared.regions import RGB, find_clusters, find_face_skin, pick_pixels, shrink
from PIL import Image, ImageColor, ImageFilter, ImageOps, ImageStat

MIN_SKIN_SHARE = 0.01
NO_FACE = "The local preview does not look for faces; it measures colours and light"
LAPLACE = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)

# Individual typology angle → the words of Chardon, Cretois and Hourseau (1991).
SKIN_WORDS = ((55, "very light"), (41, "light"), (28, "intermediate"), (10, "tan"), (-30, "brown"))

Colors = Sequence[Mapping[str, Any]]
Analysis = Callable[[Image.Image, Mapping[str, Any], Colors], dict[str, Any]]


def analyse_picture(
    tool_id: str, image: Image.Image, parameters: Mapping[str, Any], colors: Colors
) -> dict[str, Any]:
    """The tool's analysis; `colors` are the rows of the table. Raises TOOL_NEEDS_MODEL (501)."""
    analyse = ANALYSES.get(tool_id)
    if analyse is None:
        raise error("TOOL_NEEDS_MODEL", details={"tool_id": tool_id})
    return analyse(image, parameters, colors)


def photo_quality(image: Image.Image, parameters: Mapping[str, Any], colors: Colors) -> dict[str, Any]:
    """Shares are of 1. `contrast` is the deviation of luma, `sharpness` that of its Laplacian."""
    luma = ImageOps.grayscale(shrink(image, 1024))
    statistics, levels, count = ImageStat.Stat(luma), luma.histogram(), luma.width * luma.height
    return {
        "width": image.width,
        "height": image.height,
        "megapixels": round(image.width * image.height / 1e6, 2),
        "orientation": _orientation(image),
        "brightness": round(statistics.mean[0] / 255, 3),
        "contrast": round(statistics.stddev[0] / 127.5, 3),
        "sharpness": round(ImageStat.Stat(luma.filter(LAPLACE)).stddev[0] / 127.5, 4),
        "shadows_clipped": round(sum(levels[:4]) / count, 3),
        "highlights_clipped": round(sum(levels[252:]) / count, 3),
        "dominant_colors": [
            {"hex": _hex(rgb), "share": round(share, 3)}
            for rgb, share in find_clusters(shrink(image, 256, Image.Resampling.NEAREST), 5)
        ],
    }


def skin_tone(image: Image.Image, parameters: Mapping[str, Any], colors: Colors) -> dict[str, Any]:
    """A palette of what has the colour of skin, its word by the typology angle, and hair colours that stand out from
    it. Raises NO_SKIN_FOUND (422)."""
    small = shrink(image, 384)
    skin = pick_pixels(small, find_face_skin(small))
    share = skin.width / (small.width * small.height) if skin else 0.0
    if skin is None or share < MIN_SKIN_SHARE:
        raise error("NO_SKIN_FOUND")
    palette = find_clusters(skin, int(parameters.get("palette_size", 5)))
    mean = ImageStat.Stat(skin).mean
    lightness, green_red, blue_yellow = to_lab((round(mean[0]), round(mean[1]), round(mean[2])))
    angle = degrees(atan2(lightness - 50, blue_yellow))
    undertone = (
        "warm" if blue_yellow > green_red * 1.25 else "cool" if blue_yellow < green_red * 0.8 else "neutral"
    )
    return {
        "skin_share": round(share, 3),
        "palette": [{"hex": _hex(rgb), "share": round(part, 3)} for rgb, part in palette],
        "average": _hex((round(mean[0]), round(mean[1]), round(mean[2]))),
        "typology_angle": round(angle, 1),
        "tone": next((word for limit, word in SKIN_WORDS if angle > limit), "dark"),
        "undertone": undertone,
        "suitable_colors": _suitable(colors, lightness, undertone),
    }


def face_analysis(image: Image.Image, parameters: Mapping[str, Any], colors: Colors) -> dict[str, Any]:
    """What can be said without looking for a face."""
    quality = photo_quality(image, {}, colors)
    small = shrink(image, 384)
    skin = sum(find_face_skin(small).histogram()[128:]) / (small.width * small.height)
    wanted = ("width", "height", "orientation", "brightness", "contrast", "sharpness", "dominant_colors")
    return {
        "face": None,
        "face_note": NO_FACE,
        **{name: quality[name] for name in wanted},
        "skin_share": round(skin, 3),
    }


ANALYSES: Mapping[str, Analysis] = {
    "photo_quality": photo_quality,
    "skin_tone": skin_tone,
    "face_analysis": face_analysis,
}


def to_lab(rgb: RGB) -> tuple[float, float, float]:
    """CIE L*a*b* of an sRGB colour, white D65 (IEC 61966-2-1, CIE 15).

    >>> [round(value) for value in to_lab((255, 255, 255))]
    [100, 0, 0]
    """
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (level / 255 for level in rgb)
    )
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    fx, fy, fz = (
        value ** (1 / 3) if value > 216 / 24389 else (24389 / 27 * value + 16) / 116 for value in (x, y, z)
    )
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def _suitable(colors: Colors, skin_lightness: float, undertone: str) -> list[str]:
    """Up to four colours that are not as light as the skin, those of its warmth first."""

    def rank(row: Mapping[str, Any]) -> tuple[bool, float]:
        lightness, _, blue_yellow = to_lab(_rgb(row["hex"]))
        is_warm = blue_yellow > 10
        fits = undertone == "neutral" or is_warm == (undertone == "warm")
        return not fits, -abs(lightness - skin_lightness)

    apart = [row for row in colors if abs(to_lab(_rgb(row["hex"]))[0] - skin_lightness) >= 15]
    return [str(row["id"]) for row in sorted(apart, key=rank)[:4]]


def _orientation(image: Image.Image) -> str:
    if image.width == image.height:
        return "square"
    return "landscape" if image.width > image.height else "portrait"


def _rgb(text: str) -> RGB:
    red, green, blue = ImageColor.getrgb(text)[:3]
    return red, green, blue


def _hex(rgb: RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)
