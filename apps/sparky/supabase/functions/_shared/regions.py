"""Where in a picture something is, by colour and place alone: masks of the mode L, 255 where it is.

No model of a person stands behind them. Skin is a range of YCbCr (Chai and Ngan, "Face segmentation using skin-color
map", 1999), hair the largest colour of a region that is neither in the picture's middle nor at its rim, the subject
what stands in the middle. That is right for a portrait before a plain wall and wrong for a crowd.
"""

from dataclasses import dataclass
from itertools import chain

from PIL import Image, ImageChops, ImageDraw, ImageFilter

WORK_SIDE = 512
CB_RANGE, CR_RANGE, MIN_Y = (77, 127), (133, 173), 40
CLUSTERS = 8
MIN_HAIR_SHARE = 0.02
RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Region:
    """Parts of the picture's width and height, from the upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        left, top = min(size[0] - 1, round(self.x * size[0])), min(size[1] - 1, round(self.y * size[1]))
        right = min(size[0], left + max(1, round(self.width * size[0])))
        lower = min(size[1], top + max(1, round(self.height * size[1])))
        return left, top, right, lower


HEAD = Region(0.15, 0.0, 0.7, 0.6)


def shrink(
    image: Image.Image, side: int = WORK_SIDE, how: Image.Resampling = Image.Resampling.BOX
) -> Image.Image:
    """RGB, small enough to look at every pixel. NEAREST mixes no colours."""
    small = image.convert("RGB")
    small.thumbnail((side, side), how)
    return small


def find_skin(image: Image.Image) -> Image.Image:
    """Pixels in the colours of human skin, of the size of the image; without single specks."""
    luma, blue, red = image.convert("RGB").convert("YCbCr").split()
    mask = ImageChops.multiply(
        ImageChops.multiply(blue.point(_between(*CB_RANGE)), red.point(_between(*CR_RANGE))),
        luma.point(_between(MIN_Y, 255)),
    )
    return mask.filter(ImageFilter.MedianFilter(3))


def find_subject(image: Image.Image) -> Image.Image:
    """What stays sharp before a soft background: an ellipse in the middle, and skin near it. Of the image's size, with
    a soft edge."""
    small = shrink(image)
    width, height = small.size
    inner = _ellipse(small.size, 0.5, 0.58, 0.27, 0.46)
    near = _ellipse(small.size, 0.5, 0.55, 0.42, 0.5)
    skin = ImageChops.multiply(find_skin(small), near).filter(ImageFilter.MaxFilter(9))
    mask = ImageChops.lighter(inner, skin).filter(ImageFilter.GaussianBlur(max(width, height) / 60))
    return mask.resize(image.size, Image.Resampling.BILINEAR)


def find_face_skin(image: Image.Image) -> Image.Image:
    """As `find_skin`, less what has another tone than the skin in the middle: brown hair and wood are in the range too.
    Where the middle has none, all of it."""
    skin = find_skin(image)
    middle = _middle_skin(image)
    return ImageChops.multiply(skin, _likeness(image, middle[0], (70, 110))) if middle else skin


def find_hair(image: Image.Image, region: Region = HEAD) -> tuple[Image.Image, RGB] | None:
    """A mask of the image's size and the hair's colour: the largest of the region that is neither in the middle of the
    picture, where the face is, nor at its rim. None where there is none."""
    small = shrink(image)
    box = region.box(small.size)
    part = small.crop(box)
    others = [*_middle_skin(small), *(rgb for rgb, _ in find_clusters(_rim(small), 3))]
    seen = [rgb for rgb, share in find_clusters(part, CLUSTERS) if share >= MIN_HAIR_SHARE]
    hair = next((rgb for rgb in seen if not any(_is_near(rgb, other) for other in others)), None)
    if hair is None:
        return None
    alike = _likeness(part, hair, _luma_limits(hair, others)).filter(ImageFilter.MedianFilter(3))
    if sum(alike.histogram()[128:]) < MIN_HAIR_SHARE * part.width * part.height:
        return None
    mask = Image.new("L", small.size)
    mask.paste(alike, box[:2])
    return mask.filter(ImageFilter.GaussianBlur(1)).resize(image.size, Image.Resampling.BILINEAR), hair


def find_clusters(pixels: Image.Image | None, count: int) -> list[tuple[RGB, float]]:
    """The picture's main colours with their shares, the largest first."""
    if pixels is None:
        return []
    reduced = pixels.quantize(count, Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)
    palette = reduced.getpalette() or []
    total = reduced.width * reduced.height
    found = sorted(reduced.getcolors(256) or [], reverse=True)
    return [
        ((palette[3 * i], palette[3 * i + 1], palette[3 * i + 2]), n / total)
        for n, i in found
        if isinstance(i, int)
    ]


def pick_pixels(image: Image.Image, mask: Image.Image) -> Image.Image | None:
    """The pixels under a mask as a picture one pixel high; None when there are none."""
    raw = image.tobytes()
    pixels = zip(raw[0::3], raw[1::3], raw[2::3], strict=True)
    chosen = bytes(
        chain.from_iterable(rgb for rgb, on in zip(pixels, mask.tobytes(), strict=True) if on >= 128)
    )
    return Image.frombytes("RGB", (len(chosen) // 3, 1), chosen) if chosen else None


def _middle_skin(image: Image.Image) -> list[RGB]:
    """The main colours of skin where a portrait has its face."""
    width, height = image.size
    middle = image.crop((width * 2 // 5, height * 7 // 20, width * 3 // 5 + 1, height * 3 // 5 + 1))
    clusters = find_clusters(pick_pixels(middle, find_skin(middle)), 3)
    return [rgb for rgb, share in clusters if share >= 0.25]


def _rim(image: Image.Image) -> Image.Image | None:
    """The pixels at the left, right and upper rim; at the lower one there are shoulders."""
    rim = max(1, min(image.size) // 40)
    mask = Image.new("L", image.size, 255)
    ImageDraw.Draw(mask).rectangle((rim, rim, image.width - rim - 1, image.height), fill=0)
    return pick_pixels(image, mask)


def _is_near(one: RGB, other: RGB) -> bool:
    """In luma and chroma, with more patience for light and shadow than for another colour."""
    (y1, b1, r1), (y2, b2, r2) = _ycbcr(one), _ycbcr(other)
    return abs(y1 - y2) < 28 and abs(b1 - b2) < 12 and abs(r1 - r2) < 12


def _luma_limits(hair: RGB, others: list[RGB]) -> tuple[float, float]:
    """How far light and shadow may go: less far where skin or wall has the same hue and is not much lighter."""
    (luma, blue, red), seen = _ycbcr(hair), [_ycbcr(other) for other in others]
    gap = min((abs(y - luma) for y, b, r in seen if abs(b - blue) < 14 and abs(r - red) < 14), default=255)
    return min(45, 0.4 * gap), min(75, 0.6 * gap)


def _likeness(image: Image.Image, rgb: RGB, luma_limits: tuple[float, float]) -> Image.Image:
    """255 where the colour is the same within the first limit, 0 from the second on, soft between."""
    mask = Image.new("L", image.size, 255)
    limits = (luma_limits, (14, 24), (14, 24))
    for band, value, (full, none) in zip(image.convert("YCbCr").split(), _ycbcr(rgb), limits, strict=True):
        table = [
            max(0, min(255, round(255 * (none - abs(level - value)) / (none - full)))) for level in range(256)
        ]
        mask = ImageChops.multiply(mask, band.point(table))
    return mask


def _ycbcr(rgb: RGB) -> tuple[int, int, int]:
    luma, blue, red = Image.new("RGB", (1, 1), rgb).convert("YCbCr").tobytes()
    return luma, blue, red


def _between(low: int, high: int) -> list[int]:
    return [255 if low <= level <= high else 0 for level in range(256)]


def _ellipse(size: tuple[int, int], x: float, y: float, across: float, down: float) -> Image.Image:
    mask = Image.new("L", size)
    width, height = size
    box = ((x - across) * width, (y - down) * height, (x + across) * width, (y + down) * height)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask
