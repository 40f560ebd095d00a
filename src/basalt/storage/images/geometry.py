"""Where a plan puts an image: how far it is scaled, and which part of that is kept. Follows imgproxy's
`processing/prepare.go` and `calc_position.go`, which never make an image larger than it is.
"""

from typing import NamedTuple

from basalt.storage.images.plan import Plan


class Frame(NamedTuple):
    """The image is scaled to `width` × `height`; what is kept begins at `left`, `top`."""

    width: int
    height: int
    left: int
    top: int
    kept_width: int
    kept_height: int

    @property
    def is_cropped(self) -> bool:
        return (self.width, self.height) != (self.kept_width, self.kept_height)


def plan_frame(plan: Plan, width: int, height: int) -> Frame:
    """For an image of this size, upright.

    >>> plan_frame(Plan(width=100, height=100), 400, 200)
    Frame(width=200, height=100, left=50, top=0, kept_width=100, kept_height=100)
    >>> plan_frame(Plan(width=100, height=100, resize="contain"), 400, 200)[:2]
    (100, 50)
    >>> plan_frame(Plan(width=100, height=100, resize="fill"), 400, 200)[:2]
    (100, 100)
    >>> plan_frame(Plan(width=80, height=80), 100, 50)
    Frame(width=100, height=50, left=10, top=0, kept_width=80, kept_height=50)
    """
    across, down = _plan_scales(plan, width, height)
    scaled_width, scaled_height = _scale(width, across), _scale(height, down)
    kept_width, kept_height = scaled_width, scaled_height
    if plan.resize == "cover":
        kept_width = min(plan.width or scaled_width, scaled_width)
        kept_height = min(plan.height or scaled_height, scaled_height)
    left = _place_across(plan, scaled_width, kept_width)
    top = _place_down(plan, scaled_height, kept_height)
    return Frame(scaled_width, scaled_height, left, top, kept_width, kept_height)


def _plan_scales(plan: Plan, width: int, height: int) -> tuple[float, float]:
    across = plan.width / width if plan.width else None
    down = plan.height / height if plan.height else None
    if across is None or down is None:
        across = down = across or down or 1.0
    elif plan.resize != "fill":
        across = down = max(across, down) if plan.resize == "cover" else min(across, down)
    largest = max(across, down, 1.0)
    return across / largest, down / largest


def _scale(side: int, scale: float) -> int:
    return max(1, int(side * scale + 0.5))


def _place_across(plan: Plan, whole: int, kept: int) -> int:
    match plan.gravity:
        case "we" | "nowe" | "sowe":
            return _place(whole, kept, plan.x_offset, at="start")
        case "ea" | "noea" | "soea":
            return _place(whole, kept, plan.x_offset, at="end")
        case "fp":
            return _place_point(whole, kept, plan.x_offset)
        case "sm":
            return _place(whole, kept, None, at="middle")
        case _:
            return _place(whole, kept, plan.x_offset, at="middle")


def _place_down(plan: Plan, whole: int, kept: int) -> int:
    match plan.gravity:
        case "no" | "noea" | "nowe":
            return _place(whole, kept, plan.y_offset, at="start")
        case "so" | "soea" | "sowe":
            return _place(whole, kept, plan.y_offset, at="end")
        case "fp":
            return _place_point(whole, kept, plan.y_offset)
        case "sm":
            return _place(whole, kept, None, at="middle")
        case _:
            return _place(whole, kept, plan.y_offset, at="middle")


def _place(whole: int, kept: int, offset: float | None, *, at: str) -> int:
    """An offset leads away from the edge, or from the middle to the right and down.

    >>> _place(200, 100, 0.1, at="end"), _place(200, 100, 10, at="middle"), _place(200, 100, -10, at="start")
    (80, 60, 0)
    """
    given = offset or 0.0
    distance = round(given) if abs(given) >= 1 else round(whole * given)
    starts = {"start": distance, "end": whole - kept - distance, "middle": (whole - kept) // 2 + distance}
    return min(max(starts[at], 0), whole - kept)


def _place_point(whole: int, kept: int, share: float | None) -> int:
    return min(max(round(whole * (share or 0.0)) - kept // 2, 0), whole - kept)
