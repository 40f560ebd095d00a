"""The edits of the local preview: each takes a picture and the tool's parameters and gives a picture of the same mode.

Pure functions over Pillow. They do what a photo editor's sliders do; none invents what is not in the picture. Where
something is, `regions.py` guesses by colour and place.
"""

from collections.abc import Callable, Mapping
from math import log
from typing import Any

from _shared.errors import error
from _shared.regions import HEAD, Region, find_hair, find_subject
from PIL import Image, ImageColor, ImageEnhance, ImageFilter, ImageOps, ImageStat

MAX_RESULT_PIXELS = 32_000_000
MIDDLE = 0.46  # mean luma that the eye takes for well exposed

Parameters = Mapping[str, Any]
Edit = Callable[[Image.Image, Parameters], Image.Image]

# What a filter is: the sliders that it sets.
PRESETS: Mapping[str, Mapping[str, float]] = {
    "none": {},
    "warm": {"warmth": 0.45, "saturation": 0.1},
    "cool": {"warmth": -0.45, "contrast": 0.05},
    "vivid": {"saturation": 0.5, "contrast": 0.2},
    "soft": {"contrast": -0.25, "brightness": 0.1},
    "mono": {"saturation": -1.0, "contrast": 0.15},
}


def edit_picture(tool_id: str, image: Image.Image, parameters: Parameters) -> Image.Image:
    """The tool's edit; transparency stays as it was. Raises TOOL_NEEDS_MODEL (501) for what sliders cannot do."""
    edit = EDITS.get(tool_id)
    if edit is None:
        raise error("TOOL_NEEDS_MODEL", details={"tool_id": tool_id})
    if image.mode != "RGBA":
        return edit(image, parameters)
    edited = edit(image.convert("RGB"), parameters)
    alpha = image.getchannel("A")
    edited.putalpha(
        alpha if alpha.size == edited.size else alpha.resize(edited.size, Image.Resampling.LANCZOS)
    )
    return edited


def enhance(image: Image.Image, parameters: Parameters) -> Image.Image:
    """Light to the middle, contrast to the full range, specks away, edges crisp; `strength` 0 to 1 of all of it."""
    better = _lift(ImageOps.autocontrast(_smooth(image), cutoff=(0.5, 0.5), preserve_tone=True))
    better = better.filter(ImageFilter.UnsharpMask(radius=2, percent=90, threshold=4))
    return Image.blend(image, better, float(parameters.get("strength", 0.5)))


def color(image: Image.Image, parameters: Parameters) -> Image.Image:
    """Sliders of -1 to 1, added to those of the preset."""
    preset = PRESETS[str(parameters.get("preset", "none"))]
    brightness, contrast, saturation, warmth = (
        max(-1.0, min(1.0, float(parameters.get(name, 0)) + preset.get(name, 0.0)))
        for name in ("brightness", "contrast", "saturation", "warmth")
    )
    image = _warm(image, warmth)
    image = ImageEnhance.Brightness(image).enhance(1 + 0.6 * brightness)
    image = ImageEnhance.Contrast(image).enhance(1 + 0.8 * contrast)
    return ImageEnhance.Color(image).enhance(1 + saturation)


def background_blur(image: Image.Image, parameters: Parameters) -> Image.Image:
    """`radius` in pixels of a picture of 1,000 a side, so that a preview looks like the large one."""
    radius = float(parameters.get("radius", 12)) * max(image.size) / 1000
    soft = image.filter(ImageFilter.GaussianBlur(radius))
    return Image.composite(image, soft, find_subject(image))


def hair_color(image: Image.Image, parameters: Parameters) -> Image.Image:
    """`hex` is the row's of the table colors; light and shadow of the hair stay. Raises NO_HAIR_FOUND (422)."""
    wanted = parameters.get("region")
    found = find_hair(image, Region(**wanted) if wanted else HEAD)
    if found is None:
        raise error("NO_HAIR_FOUND")
    mask, hair = found
    luma = ImageOps.grayscale(image)
    middle = round(0.299 * hair[0] + 0.587 * hair[1] + 0.114 * hair[2])
    dyed = ImageOps.colorize(
        luma, "black", "white", ImageColor.getrgb(parameters["hex"]), midpoint=max(1, min(254, middle))
    )
    strength = float(parameters.get("strength", 0.7))
    return Image.composite(dyed, image, mask.point([round(level * strength) for level in range(256)]))


def upscale(image: Image.Image, parameters: Parameters) -> Image.Image:
    """Lanczos, sharpened by as much as it was enlarged. Raises IMAGE_TOO_LARGE (413)."""
    factor = int(parameters.get("factor", 2))
    size = (image.width * factor, image.height * factor)
    if size[0] * size[1] > MAX_RESULT_PIXELS:
        raise error(
            "IMAGE_TOO_LARGE",
            f"The result would have {size[0]} × {size[1]} pixels; {MAX_RESULT_PIXELS:,} is the most",
            details={"width": size[0], "height": size[1]},
        )
    large = image.resize(size, Image.Resampling.LANCZOS)
    return large.filter(ImageFilter.UnsharpMask(radius=factor * 0.8, percent=70, threshold=2))


EDITS: Mapping[str, Edit] = {
    "enhance": enhance,
    "color": color,
    "background_blur": background_blur,
    "hair_color": hair_color,
    "upscale": upscale,
}


def _smooth(image: Image.Image) -> Image.Image:
    """Without specks and grain, which have no edge that outlives a little blur. Pillow's median filter would do it too,
    and keep every other thread waiting for seconds."""
    soft = ImageOps.grayscale(image).filter(ImageFilter.GaussianBlur(1))
    edges = soft.filter(ImageFilter.FIND_EDGES).point(
        [min(255, max(0, level - 16) * 10) for level in range(256)]
    )
    mask = edges.filter(ImageFilter.GaussianBlur(1)).point([min(255, 2 * level) for level in range(256)])
    return Image.composite(image, image.filter(ImageFilter.GaussianBlur(1.2)), mask)


def _lift(image: Image.Image) -> Image.Image:
    """A gamma curve that brings the mean luma towards the middle, and not further than a stop."""
    mean = ImageStat.Stat(ImageOps.grayscale(image)).mean[0] / 255
    gamma = max(0.6, min(1.5, log(MIDDLE) / log(max(0.02, min(0.98, mean)))))
    table = [round(255 * (level / 255) ** gamma) for level in range(256)]
    return image.point(table * 3)


def _warm(image: Image.Image, warmth: float) -> Image.Image:
    """Red up and blue down, or the other way round; the luma of grey stays."""
    if warmth == 0:
        return image
    red, green, blue = image.split()
    gains = (1 + 0.22 * warmth, 1 - 0.01 * warmth, 1 - 0.38 * warmth)
    scaled = [
        band.point([min(255, round(level * gain)) for level in range(256)])
        for band, gain in zip((red, green, blue), gains, strict=True)
    ]
    return Image.merge("RGB", scaled)
