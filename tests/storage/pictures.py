"""Pictures for the tests of image transformation, and what can be seen on a result."""

import io
import struct
import zlib
from typing import Any

from PIL import Image

RED, GREEN, BLUE, YELLOW, WHITE = "red", "green", "blue", "yellow", "white"
COLOURS = {
    RED: (220, 30, 30),
    GREEN: (30, 160, 30),
    BLUE: (30, 30, 220),
    YELLOW: (230, 220, 30),
    WHITE: (255, 255, 255),
}
UPRIGHT = (RED, GREEN, BLUE, YELLOW)
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="4"/></svg>'


def quartered(kind: str = "PNG", size: tuple[int, int] = (80, 40), **options: Any) -> bytes:
    """Red and green above blue and yellow."""
    return encode(quartered_image(size), kind, **options)


def quartered_image(size: tuple[int, int] = (80, 40)) -> Image.Image:
    picture = Image.new("RGB", (2, 2))
    picture.putdata([COLOURS[name] for name in UPRIGHT])
    return picture.resize(size, Image.Resampling.NEAREST)


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    usual: dict[str, Any] = {"ICO": {"sizes": [picture.size]}}.get(kind, {})
    if kind in ("JPEG", "WEBP", "AVIF"):
        usual = {"quality": 95}
    picture.save(buffer, kind, **{**usual, **options})
    return buffer.getvalue()


def exif_with(orientation: int, **tags: str) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x013B] = tags.get("artist", "Ada")
    exif.get_ifd(0x8825)[1] = "N"  # GPS
    return exif


def corners(data: bytes) -> tuple[str, ...]:
    """The colours near the four corners, by rows."""
    with Image.open(io.BytesIO(data)) as picture:
        seen = picture.convert("RGB")
    width, height = seen.size
    left, right = width // 8, width - 1 - width // 8
    top, bottom = height // 8, height - 1 - height // 8
    return tuple(
        name_of(seen.getpixel(at)) for at in ((left, top), (right, top), (left, bottom), (right, bottom))
    )


def name_of(pixel: Any) -> str:
    """The nearest colour, which must be near."""
    distance, name = min(
        (sum(abs(own - seen) for own, seen in zip(value, pixel, strict=True)), name)
        for name, value in COLOURS.items()
    )
    assert distance < 60, f"{pixel} is none of the colours"
    return name


def size_of(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.size


def kind_of(data: bytes) -> str | None:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.format


def has_metadata(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return bool(
            {"exif", "xmp", "icc_profile", "comment"} & set(picture.info) or picture.getexif().get(0x013B)
        )


def png_of_size(width: int, height: int) -> bytes:
    """A header that promises a picture, and a few bytes of it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def png_with(chunk: bytes, content: bytes) -> bytes:
    """A small picture with another chunk right after its header."""
    picture = quartered("PNG")
    return picture[:33] + _chunk(chunk, content) + picture[33:]


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def gif_of_size(width: int, height: int) -> bytes:
    """A canvas and a frame of this size, and a dot."""
    whole = bytearray(encode(Image.new("P", (1, 1)), "GIF"))
    frame = whole.index(b",") + 5
    whole[6:10] = whole[frame : frame + 4] = struct.pack("<HH", width, height)
    return bytes(whole)


def tiff_of_pages(count: int) -> bytes:
    """Directories of one entry each, chained."""
    parts = [b"II*\0" + struct.pack("<I", 8)]
    for number in range(count):
        after = 8 + (number + 1) * 18
        parts.append(
            struct.pack("<HHHII", 1, 256, 4, 1, 1) + struct.pack("<I", after if number < count - 1 else 0)
        )
    return b"".join(parts)
