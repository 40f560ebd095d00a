"""The local preview by its pixels: what each tool changes, what it leaves alone, and what is let in at all."""

import asyncio
import struct
import time
import zlib
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps, ImageStat

from basalt.functions import FunctionError

from .pictures import FACE_AT, HAIR_AT, SHIRT_AT, SKIN, WALL_AT, a_portrait, to_bytes

# isort: split
from _shared.analysis import analyse_picture, to_lab
from _shared.image_input import Picture, decode_picture, encode_for_model, encode_picture
from _shared.models import LocalPreview, Task
from _shared.pillow_model import PRESETS, edit_picture
from _shared.regions import find_face_skin, find_skin, find_subject

pytestmark = pytest.mark.req("S6")
ENHANCE, UPSCALE = Task("enhance", "", {"strength": 1}), Task("upscale", "", {"factor": 2})
COLORS = [
    {"id": "black", "hex": "#1c1a19"}, {"id": "copper", "hex": "#b3592b"}, {"id": "honey", "hex": "#c69455"},
    {"id": "violet", "hex": "#6b3fa0"}, {"id": "teal", "hex": "#1f8a8c"},
]  # fmt: skip


def edit(tool: str, image: Image.Image, **parameters: Any) -> Image.Image:
    edited: Image.Image = edit_picture(tool, image, parameters)
    assert edited.mode == image.mode
    return edited


def at(image: Image.Image, place: tuple[int, int]) -> tuple[int, int, int]:
    value = image.getpixel(place)
    assert isinstance(value, tuple)
    return value[0], value[1], value[2]


def spread(image: Image.Image) -> float:
    """The deviation of luma."""
    return ImageStat.Stat(ImageOps.grayscale(image)).stddev[0]


def brightness(image: Image.Image) -> float:
    return ImageStat.Stat(ImageOps.grayscale(image)).mean[0]


def edges(image: Image.Image) -> float:
    return ImageStat.Stat(ImageOps.grayscale(image).filter(ImageFilter.FIND_EDGES)).mean[0]


def is_same(one: Image.Image, other: Image.Image) -> bool:
    return ImageChops.difference(one, other).getbbox() is None


def refused(work: Any, *arguments: Any, **named: Any) -> FunctionError:
    with pytest.raises(FunctionError) as caught:
        work(*arguments, **named)
    return caught.value


# Enhance


def a_dull_picture() -> Image.Image:
    """Everything between two dark greys."""
    return ImageOps.grayscale(a_portrait()).point([40 + level // 5 for level in range(256)]).convert("RGB")


def test_enhance_gives_a_dull_dark_picture_contrast_and_light() -> None:
    dull = a_dull_picture()
    better = edit("enhance", dull, strength=1)
    assert spread(better) > 2.5 * spread(dull)
    assert brightness(better) > brightness(dull) + 15


def test_enhance_goes_as_far_as_its_strength() -> None:
    dull = a_dull_picture()
    assert is_same(edit("enhance", dull, strength=0), dull)
    assert (
        spread(dull) < spread(edit("enhance", dull, strength=0.5)) < spread(edit("enhance", dull, strength=1))
    )


def test_enhance_takes_specks_away_and_keeps_edges_crisp() -> None:
    picture = Image.new("RGB", (200, 100), (90, 90, 90))
    ImageDraw.Draw(picture).rectangle((100, 0, 200, 100), fill=(160, 160, 160))
    for x in range(15, 90, 9):
        picture.putpixel((x, 50), (125, 125, 125))  # half a step high
    better = edit("enhance", picture, strength=1)
    step = at(better, (150, 50))[0] - at(better, (50, 20))[0]
    speck = at(better, (15, 50))[0] - at(better, (20, 50))[0]
    assert speck < 0.25 * step
    assert at(better, (100, 50))[0] - at(better, (99, 50))[0] >= step


# Colour


def test_colour_without_a_slider_changes_nothing() -> None:
    assert is_same(edit("color", a_portrait()), a_portrait())


def test_warmth_moves_red_against_blue() -> None:
    grey = Image.new("RGB", (32, 32), (120, 120, 120))
    red, _, blue = at(edit("color", grey, warmth=1), (5, 5))
    assert red > 140
    assert blue < 85
    red, _, blue = at(edit("color", grey, warmth=-1), (5, 5))
    assert red < 100
    assert blue > 155


def test_saturation_runs_from_grey_to_double() -> None:
    def chroma(image: Image.Image) -> int:
        return max(at(image, FACE_AT)) - min(at(image, FACE_AT))

    assert chroma(edit("color", a_portrait(), saturation=-1)) == 0
    assert chroma(edit("color", a_portrait(), saturation=1)) > 1.4 * chroma(a_portrait())


def test_brightness_and_contrast_do_what_they_say() -> None:
    portrait = a_portrait()
    assert brightness(edit("color", portrait, brightness=0.5)) > brightness(portrait) + 15
    assert brightness(edit("color", portrait, brightness=-0.5)) < brightness(portrait) - 15
    assert spread(edit("color", portrait, contrast=0.5)) > 1.2 * spread(portrait)
    assert spread(edit("color", portrait, contrast=-0.5)) < 0.8 * spread(portrait)


def test_each_preset_looks_different() -> None:
    looks = {name: edit("color", a_portrait(), preset=name).tobytes() for name in PRESETS}
    assert len(set(looks.values())) == len(PRESETS)
    red, green, blue = at(edit("color", a_portrait(), preset="mono"), SHIRT_AT)
    assert red == green == blue


# Background blur


def a_chequered_picture() -> Image.Image:
    board = Image.new("L", (100, 125))
    board.putdata([255 * ((x + y) % 2) for y in range(125) for x in range(100)])
    return board.resize((400, 500), Image.Resampling.NEAREST).convert("RGB")


def test_the_background_goes_soft_and_the_middle_stays_as_it_was() -> None:
    board = a_chequered_picture()
    blurred = edit("background_blur", board, radius=20)
    middle, corner = (170, 230, 230, 330), (0, 0, 60, 60)
    assert is_same(blurred.crop(middle), board.crop(middle))
    assert spread(blurred.crop(corner)) < 0.1 * spread(board.crop(corner))
    assert spread(edit("background_blur", board, radius=1).crop(corner)) > 3 * spread(blurred.crop(corner))


def test_blur_is_as_wide_in_a_large_picture_as_in_a_small_one() -> None:
    small, large = a_portrait(), a_portrait((1200, 1600))
    again = edit("background_blur", large, radius=30).resize(small.size, Image.Resampling.BOX)
    difference = ImageChops.difference(again, edit("background_blur", small, radius=30))
    assert ImageStat.Stat(ImageOps.grayscale(difference)).mean[0] < 4


def test_skin_beside_the_middle_stays_sharp() -> None:
    board = Image.new("RGB", (400, 400), (40, 60, 120))
    ImageDraw.Draw(board).rectangle((310, 190, 350, 240), fill=SKIN)
    mask = find_subject(board)
    assert mask.getpixel((330, 215)) > 200
    assert mask.getpixel((330, 380)) < 40


# Hair


def test_hair_takes_the_colour_and_all_else_stays() -> None:
    portrait = a_portrait()
    dyed = edit("hair_color", portrait, hex="#1f8a8c", strength=1)
    for place in (FACE_AT, WALL_AT, SHIRT_AT):
        assert at(dyed, place) == at(portrait, place)
    red, green, blue = at(dyed, HAIR_AT)
    assert green - red > 50
    assert blue - red > 50


def test_dyed_hair_keeps_its_strands_and_follows_the_strength() -> None:
    portrait = a_portrait()
    dyed = edit("hair_color", portrait, hex="#7c2f1f", strength=1)
    strand, between = (88, 110), (92, 110)
    assert sum(at(dyed, strand)) > sum(at(dyed, between)) + 15
    assert is_same(edit("hair_color", portrait, hex="#7c2f1f", strength=0), portrait)
    half = edit("hair_color", portrait, hex="#7c2f1f", strength=0.5)
    for before, middle, after in zip(
        at(portrait, HAIR_AT), at(half, HAIR_AT), at(dyed, HAIR_AT), strict=True
    ):
        assert min(before, after) - 1 <= middle <= max(before, after) + 1


def test_hair_is_looked_for_in_the_given_region_only() -> None:
    left = {"x": 0.2, "y": 0.05, "width": 0.3, "height": 0.5}
    dyed = edit("hair_color", a_portrait(), hex="#1f8a8c", strength=1, region=left)
    assert at(dyed, (120, 70)) != at(a_portrait(), (120, 70))
    assert at(dyed, (200, 90)) == at(a_portrait(), (200, 90))


def test_where_there_is_no_hair_nothing_is_dyed() -> None:
    wall = Image.new("RGB", (300, 300), (200, 205, 210))
    problem = refused(edit, "hair_color", wall, hex="#1f8a8c")
    assert (problem.code, problem.status) == ("NO_HAIR_FOUND", 422)
    corner = {"x": 0.99, "y": 0.0, "width": 0.01, "height": 0.01}
    assert refused(edit, "hair_color", a_portrait(), hex="#1f8a8c", region=corner).code == "NO_HAIR_FOUND"


# Upscale


@pytest.mark.parametrize("factor", [2, 4])
def test_upscaling_multiplies_the_sides_and_keeps_the_picture(factor: int) -> None:
    portrait = a_portrait()
    large = edit("upscale", portrait, factor=factor)
    assert large.size == (300 * factor, 400 * factor)
    back = ImageChops.difference(large.resize(portrait.size, Image.Resampling.BOX), portrait)
    assert ImageStat.Stat(ImageOps.grayscale(back)).mean[0] < 2
    assert edges(large) > 1.05 * edges(portrait.resize(large.size, Image.Resampling.BILINEAR))


def test_a_result_that_would_be_too_large_is_refused_before_it_is_made() -> None:
    problem = refused(edit, "upscale", Image.new("RGB", (3000, 3000)), factor=4)
    assert (problem.code, problem.details) == ("IMAGE_TOO_LARGE", {"width": 12000, "height": 12000})


# What all have in common


@pytest.mark.parametrize(
    ("tool", "parameters"),
    [("enhance", {}), ("color", {"warmth": 1}), ("background_blur", {}), ("hair_color", {"hex": "#1f8a8c"}),
     ("upscale", {"factor": 2})],
)  # fmt: skip
def test_transparency_stays(tool: str, parameters: dict[str, Any]) -> None:
    portrait = a_portrait()
    alpha = Image.new("L", portrait.size, 255)
    ImageDraw.Draw(alpha).rectangle((0, 0, 40, 400), fill=0)
    portrait.putalpha(alpha)
    edited = edit(tool, portrait, **parameters)
    scale = edited.width // portrait.width
    assert edited.getchannel("A").getpixel((10 * scale, 200 * scale)) == 0
    assert edited.getchannel("A").getpixel((150 * scale, 200 * scale)) == 255


def test_what_sliders_cannot_do_is_not_pretended() -> None:
    problem = refused(edit, "hairstyle", a_portrait(), hairstyle_id="bob")
    assert (problem.code, problem.status) == ("TOOL_NEEDS_MODEL", 501)


# Analyses


def analyse(tool: str, image: Image.Image, **parameters: Any) -> dict[str, Any]:
    found: dict[str, Any] = analyse_picture(tool, image, parameters, COLORS)
    return found


def test_the_palette_of_skin_is_that_of_the_skin() -> None:
    found = analyse("skin_tone", a_portrait(), palette_size=3)
    assert 0 < len(found["palette"]) <= 3
    main = tuple(bytes.fromhex(found["palette"][0]["hex"][1:]))
    assert all(abs(seen - true) <= 4 for seen, true in zip(main, SKIN, strict=True))
    assert sum(one["share"] for one in found["palette"]) == pytest.approx(1, abs=0.01)
    assert found["skin_share"] == pytest.approx(0.097, abs=0.03)
    assert found["undertone"] == "warm"
    assert found["tone"] in ("light", "intermediate")


@pytest.mark.parametrize(
    ("skin", "tone"), [((250, 220, 200), "very light"), ((150, 100, 75), "brown"), ((84, 52, 40), "dark")]
)
def test_skin_of_every_tone_is_seen_and_named(skin: tuple[int, int, int], tone: str) -> None:
    picture = Image.new("RGB", (200, 200), (60, 90, 160))
    ImageDraw.Draw(picture).rectangle((50, 50, 150, 150), fill=skin)
    found = analyse("skin_tone", picture)
    assert found["tone"] == tone
    assert found["skin_share"] == pytest.approx(0.255, abs=0.02)


def test_suitable_colours_stand_out_from_the_skin() -> None:
    found = analyse("skin_tone", a_portrait())
    lightness = to_lab(SKIN)[0]
    chosen = {row["id"]: row["hex"] for row in COLORS if row["id"] in found["suitable_colors"]}
    assert "honey" not in chosen  # nearly as light as this skin
    assert chosen
    for text in chosen.values():
        red, green, blue = bytes.fromhex(text[1:])
        assert abs(to_lab((red, green, blue))[0] - lightness) >= 15


def test_a_picture_without_skin_has_no_palette() -> None:
    problem = refused(analyse, "skin_tone", Image.new("RGB", (100, 100), (40, 90, 200)))
    assert (problem.code, problem.status) == ("NO_SKIN_FOUND", 422)


def test_quality_is_measured() -> None:
    sharp = analyse("photo_quality", a_chequered_picture())
    soft = analyse("photo_quality", a_chequered_picture().filter(ImageFilter.GaussianBlur(6)))
    assert (sharp["width"], sharp["height"], sharp["orientation"]) == (400, 500, "portrait")
    assert sharp["brightness"] == pytest.approx(0.5, abs=0.01)
    assert sharp["contrast"] == pytest.approx(1, abs=0.01)
    assert sharp["shadows_clipped"] == pytest.approx(0.5, abs=0.01)
    assert soft["sharpness"] < 0.1 * sharp["sharpness"]
    assert {one["hex"] for one in sharp["dominant_colors"][:2]} == {"#000000", "#ffffff"}


def test_no_face_is_claimed() -> None:
    found = analyse("face_analysis", a_portrait())
    assert found["face"] is None
    assert "does not look for faces" in found["face_note"]
    assert found["skin_share"] > 0.05
    assert (found["width"], found["height"]) == (300, 400)


def test_skin_is_a_range_of_colour() -> None:
    in_range, of_the_face = find_skin(a_portrait()), find_face_skin(a_portrait())
    for mask in (in_range, of_the_face):
        assert mask.getpixel(FACE_AT) == 255
        assert [mask.getpixel(place) for place in (WALL_AT, SHIRT_AT)] == [0, 0]
    assert in_range.getpixel(HAIR_AT) == 255  # brown hair has the hue of skin
    assert of_the_face.getpixel(HAIR_AT) == 0


# What is let in


def with_orientation(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Camera of somebody"
    exif.get_ifd(0x8825)[1] = "N"
    return to_bytes(image, "JPEG", exif=exif, comment=b"at home", quality=95)


def test_a_picture_stands_upright_and_says_nothing_of_its_camera() -> None:
    raw = with_orientation(a_portrait(), 6)
    picture = decode_picture(raw)
    assert picture.image.size == (400, 300)
    for made in (
        encode_picture(picture.image, is_lossless=False),
        encode_picture(picture.image, is_lossless=True),
        encode_for_model(picture.image),
    ):
        assert b"Camera" not in made.body
        assert b"at home" not in made.body
        with Image.open(BytesIO(made.body)) as again:
            assert not again.getexif()
            assert not {"exif", "comment", "icc_profile", "xmp"} & set(again.info)
            assert again.size == (400, 300)


def test_a_png_stays_without_loss_and_others_become_webp() -> None:
    portrait = a_portrait()
    lossless = decode_picture(to_bytes(portrait, "PNG"))
    made = encode_picture(lossless.image, is_lossless=lossless.is_lossless)
    assert (made.content_type, made.suffix) == ("image/png", "png")
    assert is_same(decode_picture(made.body).image, portrait)
    photo = decode_picture(to_bytes(portrait, "JPEG"))
    assert encode_picture(photo.image, is_lossless=photo.is_lossless).content_type == "image/webp"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_pictures_of_every_mode_are_read(mode: str) -> None:
    image = (
        a_portrait().convert("L").convert(mode) if mode in ("I;16", "LA", "1") else a_portrait().convert(mode)
    )
    kind = "JPEG" if mode == "CMYK" else "PNG"
    picture = decode_picture(to_bytes(image, kind))
    assert picture.image.mode in ("RGB", "RGBA")
    edit("enhance", picture.image)


def a_png_that_claims(width: int, height: int) -> bytes:
    """A header and a few bytes that would unpack to zeros."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "size", [(8193, 20), (20, 8193), (6000, 6000), (60000, 60000), (2**31 - 1, 2**31 - 1)]
)
def test_a_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    assert refused(decode_picture, a_png_that_claims(*size)).code in ("IMAGE_TOO_LARGE", "INVALID_IMAGE")
    if max(size) < 10**6:
        assert refused(decode_picture, a_png_that_claims(*size)).status == 413


@pytest.mark.parametrize(
    ("raw", "code"),
    [(b"", "INVALID_IMAGE"), (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "INVALID_IMAGE"),
     (b"GIF89a" + bytes(100), "INVALID_IMAGE"), (bytes(10 * 1024 * 1024 + 1), "IMAGE_TOO_LARGE"),
     (b"%PDF-1.4", "INVALID_IMAGE"), (b"\xff\xd8\xff\xe0" + bytes(200), "INVALID_IMAGE")],
    ids=["empty", "svg", "gif", "huge", "pdf", "zeros"],
)  # fmt: skip
def test_what_is_no_picture_is_refused(raw: bytes, code: str) -> None:
    assert refused(decode_picture, raw).code == code


def test_a_truncated_or_tiny_picture_is_refused() -> None:
    raw = to_bytes(a_portrait(), "JPEG")
    assert refused(decode_picture, raw[: len(raw) // 2]).code == "INVALID_IMAGE"
    assert refused(decode_picture, to_bytes(Image.new("RGB", (15, 300)), "PNG")).code == "INVALID_IMAGE"
    assert refused(decode_picture, to_bytes(a_portrait(), "GIF")).code == "INVALID_IMAGE"


SAMPLES = [to_bytes(a_portrait((40, 50)), kind) for kind in ("JPEG", "PNG", "WEBP")]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=12))
def test_a_broken_picture_is_read_or_refused_and_nothing_else(
    raw: bytes, changes: list[tuple[int, int]]
) -> None:
    broken = bytearray(raw)
    for place, value in changes:
        broken[place % len(broken)] = value
    with suppress(FunctionError):
        assert decode_picture(bytes(broken)).image.mode in ("RGB", "RGBA")


def test_the_event_loop_goes_on_while_a_picture_is_worked_on() -> None:
    large = a_portrait((1200, 1600))

    async def beat_until(done: asyncio.Event) -> float:
        longest, last = 0.0, time.perf_counter()
        while not done.is_set():
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        return longest

    async def work() -> tuple[float, float]:
        done, started = asyncio.Event(), time.perf_counter()
        heart = asyncio.create_task(beat_until(done))
        await asyncio.gather(
            *(LocalPreview().edit(task, Picture(large, is_lossless=False)) for task in (ENHANCE, UPSCALE))
        )
        took_s = time.perf_counter() - started
        done.set()
        return took_s, await heart

    took_s, longest_pause_s = asyncio.run(work())
    assert longest_pause_s < took_s / 4
