"""What makes a result: Gemini where its key is set, otherwise the local preview, which edits and measures by itself."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from _shared.analysis import analyse_picture
from _shared.image_input import Picture
from _shared.pillow_model import edit_picture
from PIL import Image

LOCAL = "local-preview"
SIDE_BY_SIDE = 2  # a picture of 16 megapixels takes some 300 MB while it is edited

T = TypeVar("T")
_places = asyncio.Semaphore(SIDE_BY_SIDE)


@dataclass(frozen=True)
class Task:
    """What is wanted of a picture. `parameters` are checked and whole; `color` and `hairstyle` are the chosen rows,
    `colors` all that are offered."""

    tool_id: str
    prompt: str
    parameters: Mapping[str, Any]
    color: Mapping[str, Any] | None = None
    hairstyle: Mapping[str, Any] | None = None
    colors: Sequence[Mapping[str, Any]] = field(default=())


class Model(Protocol):
    """The two names are of what will edit and what will analyse: results are remembered under them. Both methods raise
    FunctionError with a code of `errors.py`."""

    image_model: str
    analysis_model: str

    async def edit(self, task: Task, picture: Picture) -> tuple[Image.Image, str]:
        """Another picture, and the name of what made it."""

    async def analyse(self, task: Task, picture: Picture) -> tuple[dict[str, Any], str]:
        """An analysis as JSON, and the name of what made it."""


class LocalPreview:
    image_model = analysis_model = LOCAL

    async def edit(self, task: Task, picture: Picture) -> tuple[Image.Image, str]:
        parameters = {**task.parameters, "hex": task.color["hex"]} if task.color else task.parameters
        return await on_a_thread(edit_picture, task.tool_id, picture.image, parameters), LOCAL

    async def analyse(self, task: Task, picture: Picture) -> tuple[dict[str, Any], str]:
        found = await on_a_thread(analyse_picture, task.tool_id, picture.image, task.parameters, task.colors)
        return found, LOCAL


async def on_a_thread(work: Callable[..., T], *arguments: object, **named: object) -> T:
    """CPU work beside the event loop, which goes on serving; few at once, because pictures are large. Pillow lets other
    threads run while it works."""
    async with _places:
        return await asyncio.to_thread(work, *arguments, **named)
