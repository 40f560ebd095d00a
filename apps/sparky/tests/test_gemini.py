"""The adapter to Gemini against one of our own: what goes over the wire, and what each way to fail becomes."""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from PIL import Image

from basalt.functions import FunctionError
from tests.fakes.small_server import Reply

from .gemini import (
    ANALYSIS_MODEL,
    IMAGE_MODEL,
    Gemini,
    blocked_reply,
    candidate_reply,
    json_reply,
    picture_reply,
    quota_reply,
    running_gemini,
    status_reply,
    text_reply,
)
from .pictures import SKIN, a_portrait

# isort: split
from _shared import gemini as adapter
from _shared.generation import choose_model
from _shared.image_input import Picture
from _shared.models import LocalPreview, Task

pytestmark = pytest.mark.req("S6")
DYE = Task(
    "hair_color",
    "Dye the hair.",
    {"color_id": "copper", "strength": 0.7},
    color={"id": "copper", "name": "Copper", "hex": "#b3592b"},
)
FACE = Task("face_analysis", "Analyse the face.", {})


@pytest.fixture(scope="module")
def provider() -> Iterator[Gemini]:
    with running_gemini() as gemini:
        yield gemini


@pytest.fixture
def gemini(provider: Gemini) -> Iterator[Gemini]:
    provider.reset()
    yield provider
    assert not provider.problems


def run(gemini: Gemini, verb: str, task: Task, image: Image.Image | None = None, **env: str) -> Any:
    """`edit` or `analyse` with a client of its own, as in a function's process."""

    async def ask() -> Any:
        async with httpx2.AsyncClient(timeout=None, verify=False) as http:
            model = adapter.Gemini({**gemini.secrets, **env}, http)
            return await getattr(model, verb)(task, Picture(image or a_portrait(), is_lossless=False))

    return asyncio.run(ask())


def failure(gemini: Gemini, verb: str = "edit", task: Task = DYE, **env: str) -> FunctionError:
    with pytest.raises(FunctionError) as caught:
        run(gemini, verb, task, **env)
    assert gemini.key not in str(caught.value)
    return caught.value


def test_the_key_chooses_the_model() -> None:
    assert isinstance(choose_model({}), LocalPreview)
    assert isinstance(choose_model({"GEMINI_API_KEY": ""}), LocalPreview)
    assert isinstance(choose_model({"GEMINI_API_KEY": "key"}), adapter.Gemini)


def test_a_picture_goes_in_and_a_picture_comes_out(gemini: Gemini) -> None:
    image, name = run(gemini, "edit", DYE)
    assert name == IMAGE_MODEL
    assert image.size == (300, 400)
    seen = image.getpixel((150, 170))
    assert all(abs(level - (255 - true)) < 12 for level, true in zip(seen, SKIN, strict=True))
    text = gemini.calls[0]["contents"][0]["parts"][0]["text"]
    assert text.splitlines() == ["Dye the hair.", 'Parameters: {"strength": 0.7}', "Colour: Copper (#b3592b)"]


def test_a_hairstyle_is_described_to_the_model(gemini: Gemini) -> None:
    style = {"id": "bob", "name": "Bob", "description": "a chin-length bob"}
    run(gemini, "edit", Task("hairstyle", "Cut.", {"hairstyle_id": "bob"}, hairstyle=style))
    assert gemini.calls[0]["contents"][0]["parts"][0]["text"] == "Cut.\nHairstyle: a chin-length bob"


def test_a_large_picture_is_sent_smaller(gemini: Gemini) -> None:
    run(gemini, "edit", DYE, a_portrait((2430, 3240)))
    assert max(gemini.pictures[0].size) == 3072


def test_thoughts_are_not_the_picture(gemini: Gemini) -> None:
    draft = json.loads(picture_reply(Image.new("RGB", (20, 20), "red")).body)["candidates"][0]["content"][
        "parts"
    ]
    final = json.loads(picture_reply(Image.new("RGB", (30, 30), "blue")).body)["candidates"][0]["content"][
        "parts"
    ]
    gemini.replies.append(candidate_reply([{**draft[1], "thought": True}, *final]))
    image, _ = run(gemini, "edit", DYE)
    assert image.size == (30, 30)


@pytest.mark.parametrize("tool", ["face_analysis", "skin_tone", "photo_quality", "a_tool_of_the_operator"])
def test_an_analysis_follows_the_schema_that_was_sent(gemini: Gemini, tool: str) -> None:
    found, name = run(gemini, "analyse", Task(tool, "", {}))
    assert name == ANALYSIS_MODEL
    assert set(adapter.SCHEMAS.get(tool, adapter.ANY_ANALYSIS)["required"]) <= set(found)
    schema = gemini.calls[0]["generationConfig"]["responseSchema"]
    assert schema["type"] == "OBJECT"
    assert gemini.calls[0]["contents"][0]["parts"][0]["text"]


# Refusals and failures


@pytest.mark.parametrize("reason", ["SAFETY", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "BLOCKLIST", "OTHER"])
def test_a_blocked_prompt_is_a_refusal(gemini: Gemini, reason: str) -> None:
    gemini.replies.append(blocked_reply(reason))
    problem = failure(gemini)
    assert (problem.code, problem.status, problem.details) == ("MODEL_REFUSED", 422, {"reason": reason})


@pytest.mark.parametrize(
    ("reason", "code", "status"),
    [("SAFETY", "MODEL_REFUSED", 422), ("IMAGE_SAFETY", "MODEL_REFUSED", 422),
     ("IMAGE_PROHIBITED_CONTENT", "MODEL_REFUSED", 422), ("RECITATION", "MODEL_REFUSED", 422),
     ("SPII", "MODEL_REFUSED", 422), ("NO_IMAGE", "MODEL_FAILED", 502), ("MAX_TOKENS", "MODEL_FAILED", 502),
     ("IMAGE_OTHER", "MODEL_FAILED", 502), ("A_REASON_OF_TOMORROW", "MODEL_FAILED", 502)],
)  # fmt: skip
def test_a_candidate_that_ended_early_is_no_result(
    gemini: Gemini, reason: str, code: str, status: int
) -> None:
    gemini.replies.append(candidate_reply([], reason))
    problem = failure(gemini)
    assert (problem.code, problem.status) == (code, status)


@pytest.mark.parametrize(("delay", "seconds"), [("12.771204034s", 13), ("2s", 2), (None, 30), ("soon", 30)])
def test_a_used_up_quota_says_when_to_come_back(gemini: Gemini, delay: str | None, seconds: int) -> None:
    gemini.replies.append(quota_reply(delay))
    problem = failure(gemini)
    assert (problem.code, problem.status) == ("MODEL_BUSY", 503)
    assert problem.details == {"retry_after_s": seconds}
    assert ("retry-after", str(seconds)) in list(problem.headers)


@pytest.mark.parametrize(
    ("reply", "code", "status"),
    [(status_reply(503, "UNAVAILABLE", "The model is overloaded."), "MODEL_BUSY", 503),
     (status_reply(504, "DEADLINE_EXCEEDED", "Deadline expired."), "MODEL_TIMEOUT", 504),
     (status_reply(500, "INTERNAL", "An internal error has occurred."), "MODEL_FAILED", 502),
     (Reply(502, b"<html>Bad Gateway</html>"), "MODEL_FAILED", 502),
     (status_reply(400, "INVALID_ARGUMENT", "Unable to process input image."), "MODEL_FAILED", 502),
     (status_reply(400, "FAILED_PRECONDITION", "User location is not supported."), "MODEL_NOT_CONFIGURED", 503),
     (status_reply(403, "PERMISSION_DENIED", "Your API key was reported as leaked."), "MODEL_NOT_CONFIGURED", 503),
     (Reply(is_cut=True), "MODEL_FAILED", 502)],
    ids=["overloaded", "deadline", "internal", "proxy", "argument", "region", "leaked", "cut"],
)  # fmt: skip
def test_errors_of_the_api_become_errors_of_ours(
    gemini: Gemini, reply: Reply, code: str, status: int
) -> None:
    gemini.replies.append(reply)
    problem = failure(gemini)
    assert (problem.code, problem.status) == (code, status)


def test_a_wrong_key_or_model_is_the_operators_to_mend(gemini: Gemini) -> None:
    problem = failure(gemini, GEMINI_API_KEY="wrong")
    assert (problem.code, problem.details) == ("MODEL_NOT_CONFIGURED", {"reason": "API_KEY_INVALID"})
    assert failure(gemini, GEMINI_IMAGE_MODEL="gone").code == "MODEL_NOT_CONFIGURED"


def test_nothing_listens(gemini: Gemini) -> None:
    assert failure(gemini, GEMINI_API_URL="http://127.0.0.1:9").code == "MODEL_FAILED"


@pytest.mark.parametrize("how", ["silent", "dripping"])
def test_a_model_that_takes_too_long_is_given_up(gemini: Gemini, how: str) -> None:
    gemini.replies.append(Reply(pause_s=2) if how == "silent" else Reply(body=bytes(40), drip_s=0.05))
    problem = failure(gemini, GEMINI_TIMEOUT_S="0.3")
    assert (problem.code, problem.status) == ("MODEL_TIMEOUT", 504)


BROKEN = base64.b64encode(b"\x89PNG\r\n\x1a\nno more").decode()


@pytest.mark.parametrize(
    "reply",
    [Reply(200, b"not JSON"), json_reply(200, []), json_reply(200, {}), json_reply(200, {"candidates": []}),
     json_reply(200, {"candidates": [None]}), json_reply(200, {"candidates": [{"content": "text"}]}),
     candidate_reply([]), candidate_reply([{"text": "I cannot draw."}]), json_reply(200, {"promptFeedback": 1}),
     candidate_reply([{"inlineData": {"mimeType": "image/png", "data": "***"}}]),
     candidate_reply([{"inlineData": {"mimeType": "image/png", "data": BROKEN}}]),
     candidate_reply([{"inlineData": {"mimeType": "image/png"}}]), candidate_reply([{"inlineData": 7}])],
    ids=[f"shape-{number}" for number in range(13)],
)  # fmt: skip
def test_an_answer_of_another_shape_is_no_result(gemini: Gemini, reply: Reply) -> None:
    gemini.replies.append(reply)
    problem = failure(gemini)
    assert (problem.code, problem.status) == ("MODEL_FAILED", 502)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        '{"face_shape": "oval"}',
        '{"face_shape": 1, "summary": 2, "suitable_hairstyles": 3}',
    ],
)
def test_an_analysis_that_does_not_follow_its_schema_is_no_result(gemini: Gemini, text: str) -> None:
    gemini.replies.append(text_reply(text))
    assert failure(gemini, "analyse", FACE).code == "MODEL_FAILED"
