"""Pictures that tests know every pixel of, and the functions' own modules for those that need no server."""

import sys
from io import BytesIO

from PIL import Image, ImageDraw

from .conftest import APP

sys.path.append(str(APP / "supabase" / "functions"))

WALL, HAIR, SKIN, SHIRT = (120, 150, 190), (72, 46, 30), (214, 164, 134), (40, 110, 60)
FACE_AT, HAIR_AT, WALL_AT, SHIRT_AT = (150, 170), (150, 70), (20, 20), (150, 380)


def a_portrait(size: tuple[int, int] = (300, 400)) -> Image.Image:
    """A wall, a shirt, hair around the upper half of a face; at 300 × 400 the constants say where. Hair has strands."""
    image = Image.new("RGB", (300, 400), WALL)
    draw = ImageDraw.Draw(image)
    draw.rectangle((60, 300, 240, 400), fill=SHIRT)
    draw.ellipse((75, 40, 225, 220), fill=HAIR)
    for x in range(80, 220, 8):
        draw.line((x, 90, x, 130), fill=(90, 60, 42))
    draw.ellipse((100, 100, 200, 250), fill=SKIN)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def to_bytes(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def a_photo(seed: int = 0) -> bytes:
    """The portrait as a JPEG that differs from the others by one pixel's colour."""
    image = a_portrait()
    image.putpixel((0, 0), (seed % 256, seed // 256 % 256, 90))
    return (
        to_bytes(image, "PNG")
        if seed % 2
        else to_bytes(image, "JPEG", quality=90, comment=str(seed).encode())
    )
