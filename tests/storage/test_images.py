"""What the engines make of pictures: every parameter and format, by libvips and by Pillow alike."""

import io
import struct
from collections.abc import Iterator

import pytest
from PIL import Image, ImageCms

from basalt.storage.images import Plan
from basalt.storage.images.job import PassedThrough
from tests.storage.images_worker import Engine, running_engine
from tests.storage.pictures import (
    BLUE,
    COLOURS,
    GREEN,
    RED,
    SVG,
    UPRIGHT,
    WHITE,
    YELLOW,
    corners,
    encode,
    exif_with,
    has_metadata,
    kind_of,
    name_of,
    quartered,
    quartered_image,
    size_of,
)

KINDS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "ICO")
pytestmark = pytest.mark.req("P8")


@pytest.fixture(scope="module", params=["vips", "pillow"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with running_engine(request.param) as running:
        yield running


# Of a picture of 80 × 40


@pytest.mark.parametrize(
    ("plan", "size", "seen"),
    [
        (Plan(), (80, 40), UPRIGHT),
        (Plan(width=20), (20, 10), UPRIGHT),
        (Plan(height=20), (40, 20), UPRIGHT),
        (Plan(width=20, resize="contain"), (20, 10), UPRIGHT),
        (Plan(height=20, resize="fill"), (40, 20), UPRIGHT),
        (Plan(width=20, height=20, resize="contain"), (20, 10), UPRIGHT),
        (Plan(width=20, height=20, resize="fill"), (20, 20), UPRIGHT),
        (Plan(width=20, height=20), (20, 20), UPRIGHT),
        (Plan(width=400), (80, 40), UPRIGHT),
        (Plan(width=400, height=400), (80, 40), UPRIGHT),
        (Plan(width=400, height=400, resize="contain"), (80, 40), UPRIGHT),
        (Plan(width=160, height=20, resize="fill"), (80, 10), UPRIGHT),
        (Plan(width=60, height=60), (60, 40), UPRIGHT),
        (Plan(width=10, height=20, gravity="we"), (10, 20), (RED, RED, BLUE, BLUE)),
        (Plan(width=10, height=20, gravity="ea"), (10, 20), (GREEN, GREEN, YELLOW, YELLOW)),
        (Plan(width=80, height=10, gravity="no"), (80, 10), (RED, GREEN, RED, GREEN)),
        (Plan(width=80, height=10, gravity="so"), (80, 10), (BLUE, YELLOW, BLUE, YELLOW)),
        (Plan(width=80, height=10, gravity="nowe"), (80, 10), (RED, GREEN, RED, GREEN)),
        (Plan(width=10, height=20, gravity="soea"), (10, 20), (GREEN, GREEN, YELLOW, YELLOW)),
        (Plan(width=10, height=20, gravity="noea"), (10, 20), (GREEN, GREEN, YELLOW, YELLOW)),
        (Plan(width=10, height=20, gravity="sowe"), (10, 20), (RED, RED, BLUE, BLUE)),
        (Plan(width=10, height=20, gravity="ce"), (10, 20), UPRIGHT),
        (Plan(width=10, height=20, gravity="we", x_offset=30), (10, 20), (GREEN, GREEN, YELLOW, YELLOW)),
        (Plan(width=10, height=20, gravity="ea", x_offset=0.7), (10, 20), (RED, RED, BLUE, BLUE)),
        (Plan(width=80, height=10, gravity="no", y_offset=25), (80, 10), (BLUE, YELLOW, BLUE, YELLOW)),
        (Plan(width=10, height=20, gravity="fp", x_offset=0, y_offset=1), (10, 20), (RED, RED, BLUE, BLUE)),
        (
            Plan(width=10, height=20, gravity="fp", x_offset=1, y_offset=0),
            (10, 20),
            (GREEN, GREEN, YELLOW, YELLOW),
        ),
    ],
)
def test_a_plan_gives_this_size_and_shows_these_parts(
    engine: Engine, plan: Plan, size: tuple[int, int], seen: tuple[str, ...]
) -> None:
    image = engine.render(quartered(), plan)
    assert (image.width, image.height) == size == size_of(image.data)
    assert corners(image.data) == seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", [None, "webp", "avif"])
def test_every_format_is_read_and_written(engine: Engine, kind: str, target: str | None) -> None:
    image = engine.render(quartered(kind), Plan(width=40), target)
    expected = target.upper() if target else kind
    assert kind_of(image.data) == expected
    assert image.content_type == {"ICO": "image/vnd.microsoft.icon"}.get(
        expected, f"image/{expected.lower()}"
    )
    assert size_of(image.data) == (40, 20)
    assert corners(image.data) == UPRIGHT


TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_90",
    7: "TRANSVERSE",
    8: "ROTATE_270",
}


@pytest.mark.parametrize("orientation", sorted(TURNS))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_is_turned_upright_and_loses_its_metadata(
    engine: Engine, kind: str, orientation: int
) -> None:
    lying = quartered_image((160, 80)).transpose(Image.Transpose[TURNS[orientation]])
    source = encode(lying, kind, exif=exif_with(orientation))
    assert has_metadata(source)
    image = engine.render(source, Plan(width=80, height=80, gravity="we"))
    assert (image.width, image.height) == (80, 80)
    assert corners(image.data) == (RED, RED, BLUE, BLUE)
    assert not has_metadata(image.data)


def test_a_turned_photo_shrinks_from_many_pixels(engine: Engine) -> None:
    lying = quartered_image((1600, 800)).transpose(Image.Transpose.ROTATE_90)
    image = engine.render(encode(lying, "JPEG", exif=exif_with(6)), Plan(width=40))
    assert (size_of(image.data), corners(image.data)) == ((40, 20), UPRIGHT)


@pytest.mark.parametrize(("kind", "target"), [("PNG", None), ("PNG", "webp"), ("PNG", "avif"), ("GIF", None)])
def test_transparency_stays_where_the_format_has_it(engine: Engine, kind: str, target: str | None) -> None:
    image = engine.render(encode(half_transparent(), kind), Plan(width=20), target)
    seen = decode(image.data).convert("RGBA")
    assert (seen.getpixel((2, 5))[3], seen.getpixel((17, 5))[3]) == (0, 255)


def test_transparency_becomes_white_where_the_format_has_none(engine: Engine) -> None:
    """A bitmap may come with it, but few programs would understand one that is written so."""
    image = engine.render(transparent_bitmap(half_transparent()), Plan(width=20))
    assert (kind_of(image.data), corners(image.data)) == ("BMP", (WHITE, RED, WHITE, RED))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "CMYK", "RGBA"])
def test_other_modes_of_colour_are_shown(engine: Engine, mode: str) -> None:
    """Grey pictures by their brightness."""
    half = Image.new("L", (40, 40), 255)
    half.paste(0, (0, 0, 20, 40))
    if mode == "I;16":
        picture = Image.new("I;16", half.size)
        picture.putdata([value * 257 for value in half.get_flattened_data()])
    else:
        picture = half.convert("RGB").convert(mode) if mode == "CMYK" else half.convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    for target in (None, "webp"):
        seen = decode(engine.render(encode(picture, kind), Plan(width=20), target).data).convert("L")
        dark, bright = seen.getpixel((3, 10)), seen.getpixel((16, 10))
        assert dark < 60
        assert bright > 230


def test_colours_of_a_profile_become_those_of_srgb(engine: Engine) -> None:
    """In a space whose red is what sRGB calls blue, a red picture is blue."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"tmp!").replace(b"bXYZ", b"rXYZ").replace(b"tmp!", b"bXYZ")
    picture = Image.new("RGB", (40, 40), COLOURS[RED])
    image = engine.render(encode(picture, "PNG", icc_profile=swapped), Plan(width=20))
    assert set(corners(image.data)) == {BLUE}
    assert not has_metadata(image.data)


def test_only_the_first_frame_of_an_animation_is_shown(engine: Engine) -> None:
    frames = [Image.new("RGB", (40, 40), COLOURS[name]) for name in (RED, BLUE, GREEN)]
    for kind in ("GIF", "WEBP", "TIFF"):
        source = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        image = engine.render(source, Plan(width=20))
        assert size_of(image.data) == (20, 20)
        assert set(corners(image.data)) == {RED}
        assert getattr(decode(image.data), "n_frames", 1) == 1


def test_quality_decides_about_the_size(engine: Engine) -> None:
    noisy = Image.effect_noise((200, 200), 80).convert("RGB")
    source = encode(noisy, "JPEG")
    for target in (None, "webp", "avif"):
        sizes = [len(engine.render(source, Plan(quality=quality), target).data) for quality in (20, None, 95)]
        assert sizes == sorted(set(sizes)), target


def test_smart_gravity_keeps_what_stands_out() -> None:
    """By libvips; Pillow keeps the middle."""
    picture = Image.new("RGB", (400, 100), COLOURS[WHITE])
    picture.paste(quartered_image((60, 60)), (320, 20))
    source, plan = encode(picture, "PNG"), Plan(width=100, height=100, gravity="sm")
    with running_engine("vips") as vips, running_engine("pillow") as pillow:
        found = decode(vips.render(source, plan).data).convert("RGB")
        middle = decode(pillow.render(source, plan).data).convert("RGB")
    assert RED in {name_of(found.getpixel((x, 35))) for x in (20, 30, 40, 50, 60, 70)}
    assert {name_of(middle.getpixel((x, 35))) for x in (10, 50, 90)} == {WHITE}


def test_without_libvips_pillow_does_the_work_unless_it_is_not_to() -> None:
    with running_engine("auto", has_vips=False) as pillow:
        assert corners(pillow.render(quartered("JPEG"), Plan(width=20)).data) == UPRIGHT
    with running_engine("vips", has_vips=False) as none:
        assert none.refusal(quartered("JPEG"), Plan(width=20)) == "failed"


def test_a_result_too_wide_for_webp_keeps_its_own_format(engine: Engine) -> None:
    image = engine.render(encode(Image.new("L", (20_000, 2)), "PNG"), Plan(), "webp")
    assert (image.content_type, size_of(image.data)) == ("image/png", (20_000, 2))


@pytest.mark.parametrize(
    "source",
    [
        SVG,
        b"\xef\xbb\xbf" + SVG,
        b"<!-- drawn by hand --><svg/>",
        b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://example.com/svg11.dtd"><svg/>',
        SVG.decode().replace("?xml version", "?xml  version").encode("utf-8"),
        SVG.decode().encode("utf-16"),
    ],
)
def test_drawings_are_passed_through(engine: Engine, source: bytes) -> None:
    assert engine.work(source, Plan(width=3)) == PassedThrough("image/svg+xml")


def half_transparent() -> Image.Image:
    """Nothing on the left, red on the right."""
    picture = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    picture.paste((*COLOURS[RED], 255), (20, 0, 40, 20))
    return picture


def transparent_bitmap(picture: Image.Image) -> bytes:
    """With a BITMAPV4HEADER, which has a mask for alpha; rows go upwards."""
    pixels = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM).convert("RGBA").tobytes("raw", "BGRA")
    head = struct.pack("<IiiHHIIiiII", 108, *picture.size, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(108 - 40 - 16)
    return struct.pack("<2sIII", b"BM", 122 + len(pixels), 0, 122) + head + masks + pixels


def decode(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture
