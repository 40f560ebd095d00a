"""Bytes that mean harm are refused by both engines, and the process that refused them goes on."""

import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from basalt.storage.images import PassedThrough, Plan
from tests.storage.images_worker import Engine, running_engine
from tests.storage.pictures import (
    UPRIGHT,
    corners,
    encode,
    exif_with,
    gif_of_size,
    png_of_size,
    png_with,
    quartered,
    tiff_of_pages,
)

pytestmark = pytest.mark.req("P8")
ENTITIES = (
    b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "lol">'
    + b"".join(b'<!ENTITY %c "%b">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(20))
    + b"]><svg>&u;</svg>"
)


@pytest.fixture(scope="module", params=["vips", "pillow"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with running_engine(request.param) as running:
        yield running


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (png_of_size(60_000, 60_000), "pixels"),
        (png_of_size(8000, 8000), "pixels"),
        (gif_of_size(65_535, 65_535), "pixels"),
        (encode(Image.new("1", (10_000, 5001)), "PNG"), "pixels"),
        (encode(Image.new("1", (10_000, 5001)), "TIFF", compression="group4"), "pixels"),
        (encode(Image.new("1", (10_000, 5001)), "BMP"), "pixels"),
        (png_of_size(3000, 3000), "invalid"),
        (quartered("JPEG", (800, 400))[:3000], "invalid"),
        (quartered("PNG", (800, 400))[:300], "invalid"),
        (quartered("WEBP", (800, 400))[:200], "invalid"),
        (quartered("AVIF", (800, 400))[:-200], "invalid"),
        (quartered("GIF", (800, 400))[:600], "invalid"),
        (quartered("TIFF", (800, 400))[:-90_000], "invalid"),
        (quartered("BMP", (800, 400))[:90_000], "invalid"),
        (quartered("JPEG")[:20], "invalid"),
        (b"\xff\xd8\xff", "invalid"),
        (b"", "invalid"),
        (b"not an image", "invalid"),
        (b"%PDF-1.7 " + bytes(100), "invalid"),
        (b"<html><body><svg/></body></html>", "invalid"),
        (b"<svg", "invalid"),
        (bytes.fromhex("00000010667479706d69663100000000"), "invalid"),  # HEIF that is no AVIF
        (b"#!/bin/sh\nP6 10 10 255 ", "invalid"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_is_refused_at_once(engine: Engine, source: bytes, reason: str) -> None:
    assert engine.refusal(source, Plan(width=20)) == reason
    assert corners(engine.render(quartered("JPEG"), Plan(width=40)).data) == UPRIGHT


def test_what_hides_beside_the_pixels_costs_nothing(engine: Engine) -> None:
    """Text and profiles that grow by a thousand, and a picture in the picture."""
    bomb = zlib.compress(bytes(60_000_000), 9)
    for source in (
        png_with(b"zTXt", b"comment\0\0" + bomb),
        png_with(b"iCCP", b"profile\0\0" + bomb),
        png_with(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb),
    ):
        outcome = engine.work(source, Plan(width=20))
        assert len(getattr(outcome, "data", b"")) < 10_000
    assert peak_mb(engine) < 300


def test_a_picture_inside_an_icon_does_not_get_past_the_limit(engine: Engine) -> None:
    icon = bytearray(encode(Image.new("RGB", (64, 64)), "ICO"))
    start = icon.index(b"\x89PNG")
    icon[start:] = png_of_size(60_000, 60_000)
    icon[14:18] = (len(icon) - start).to_bytes(4, "little")
    assert engine.refusal(bytes(icon)) == "pixels"


def test_a_million_directories_are_not_walked_for_long(engine: Engine) -> None:
    assert engine.refusal(tiff_of_pages(100_000), Plan(width=20)) == "invalid"


def test_a_directory_that_leads_to_itself_ends(engine: Engine) -> None:
    source = bytearray(tiff_of_pages(2))
    source[-4:] = (8).to_bytes(4, "little")
    assert engine.refusal(bytes(source)) == "invalid"


def test_entities_of_a_drawing_are_not_expanded(engine: Engine) -> None:
    assert engine.work(ENTITIES) == PassedThrough("image/svg+xml")
    assert peak_mb(engine) < 300


def test_a_source_over_the_limit_of_bytes_is_not_read(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "source"
    with file.open("wb") as sparse:
        sparse.truncate(2**33)
    assert engine.refusal(file, max_bytes=1000) == "bytes"
    assert engine.refusal(tmp_path / "none") == "missing"


def test_broken_metadata_does_not_matter(engine: Engine) -> None:
    source = encode(
        Image.open(io.BytesIO(quartered())), "JPEG", exif=exif_with(1), icc_profile=b"rubbish" * 40
    )
    broken = source.replace(b"Exif\0\0MM\0*", b"Exif\0\0MM\0?").replace(b"Exif\0\0II*\0", b"Exif\0\0II?\0")
    assert broken != source
    assert corners(engine.render(broken, Plan(width=40)).data) == UPRIGHT


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "ICO"])
def test_no_flipped_byte_ends_the_process(engine: Engine, kind: str) -> None:
    """Whether it is refused or shown with a scratch."""
    source = quartered(kind)
    for at in range(4, len(source), max(1, len(source) // 40)):
        flipped = bytearray(source)
        flipped[at] ^= 0xFF
        engine.work(bytes(flipped), Plan(width=20), max_pixels=1_000_000)
    assert engine.process.poll() is None


@pytest.mark.parametrize("name", ["vips", "pillow"])
def test_a_process_has_no_more_memory_than_it_may(name: str) -> None:
    """A picture that has to be turned must be whole in memory: 138 MB of this one."""
    source = encode(Image.new("RGB", (6800, 6800)), "JPEG", exif=exif_with(6))
    with running_engine(name, memory_mb=128) as small:
        assert small.refusal(source) == "invalid"
        assert peak_mb(small) < 220
        assert corners(small.render(quartered("JPEG"), Plan(width=40)).data) == UPRIGHT


def peak_mb(engine: Engine) -> int:
    """The most that the process has ever had in memory; 0 once it has died."""
    lines = Path(f"/proc/{engine.process.pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)
