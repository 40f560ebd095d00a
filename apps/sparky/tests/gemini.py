"""A Gemini of our own: `models.generateContent` of v1beta as Google documents it, with its checks of what is sent.

After https://ai.google.dev/api/generate-content, …/gemini-api/docs/image-generation, …/structured-output and
…/troubleshooting (errors are `google.rpc.Status`).
"""

import base64
import binascii
import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from PIL import Image

from tests.fakes.small_server import Received, Reply, small_server

IMAGE_MODEL, ANALYSIS_MODEL = "gemini-test-image", "gemini-test"
TYPES = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"}
# The fields of Schema that the reference lists; others are 400.
SCHEMA_FIELDS = {
    "type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems", "properties", "required",
    "minProperties", "maxProperties", "minLength", "maxLength", "pattern", "example", "anyOf", "propertyOrdering",
    "default", "items", "minimum", "maximum",
}  # fmt: skip


@dataclass
class Gemini:
    """Answers what `replies` hold, then pictures and analyses. While `gate` is closed, requests wait at it."""

    url: str = ""
    key: str = "gemini-api-key"
    replies: deque[Reply] = field(default_factory=deque)
    analysis: dict[str, Any] = field(default_factory=lambda: dict(ANALYSIS))
    calls: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[Image.Image] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    @property
    def secrets(self) -> dict[str, str]:
        return {
            "GEMINI_API_KEY": self.key,
            "GEMINI_API_URL": self.url,
            "GEMINI_IMAGE_MODEL": IMAGE_MODEL,
            "GEMINI_ANALYSIS_MODEL": ANALYSIS_MODEL,
            "GEMINI_TIMEOUT_S": "20",
        }

    def reset(self) -> None:
        self.replies.clear()
        self.calls.clear()
        self.pictures.clear()
        self.problems.clear()
        self.analysis = dict(ANALYSIS)
        self.gate.set()

    def answer(self, request: Received) -> Reply:
        if request.headers.get("x-goog-api-key") != self.key:
            return status_reply(400, "INVALID_ARGUMENT", "API key not valid.", API_KEY_INVALID)
        model = request.path.removeprefix("/v1beta/models/").removesuffix(":generateContent")
        if model not in (IMAGE_MODEL, ANALYSIS_MODEL) or request.method != "POST":
            return status_reply(404, "NOT_FOUND", f"{request.path} is not found for API version v1beta")
        body = json.loads(request.body)
        try:
            picture = self._check(model, body, request.headers)
        except (AssertionError, KeyError, TypeError, ValueError, OSError, binascii.Error) as problem:
            self.problems.append(repr(problem))
            return status_reply(400, "INVALID_ARGUMENT", f"Invalid JSON payload received. {problem!r}")
        with self.arrived:
            self.calls.append(body)
            self.pictures.append(picture)
            self.arrived.notify_all()
        assert self.gate.wait(30)
        if self.replies:
            return self.replies.popleft()
        if model == IMAGE_MODEL:
            return picture_reply(Image.eval(picture, lambda level: 255 - level))
        return text_reply(json.dumps(self.analysis))

    def _check(self, model: str, body: dict[str, Any], headers: Any) -> Image.Image:
        assert headers["content-type"] == "application/json"
        assert set(body) <= {"contents", "generationConfig", "safetySettings", "systemInstruction"}, set(body)
        (content,) = body["contents"]
        assert content["role"] == "user"
        text, inline = content["parts"]
        assert text["text"].strip()
        blob = inline["inline_data"]
        assert blob["mime_type"] in ("image/png", "image/jpeg", "image/webp")
        raw = base64.b64decode(blob["data"], validate=True)
        assert len(raw) < 20 * 1024 * 1024
        with Image.open(BytesIO(raw)) as opened:
            assert opened.get_format_mimetype() == blob["mime_type"]
            assert not opened.getexif()
            picture = opened.convert("RGB")
        config = body["generationConfig"]
        if model == IMAGE_MODEL:
            assert set(config["responseModalities"]) == {"TEXT", "IMAGE"}
        else:
            assert config["responseMimeType"] == "application/json"
            check_schema(config["responseSchema"])
        return picture

    def wait_for_calls(self, count: int) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.calls) >= count, 15)


API_KEY_INVALID = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
}
ANALYSIS = {
    "face_shape": "oval", "proportions": "balanced", "suitable_hairstyles": ["bob", "layers"],
    "summary": "An oval face.", "palette": [{"hex": "#d6a486", "share": 1}], "tone": "light", "undertone": "warm",
    "suitable_colors": ["copper"], "light": "even", "sharpness": "good", "noise": "low", "framing": "centred",
    "score": 80,
}  # fmt: skip


def check_schema(schema: dict[str, Any]) -> None:
    assert set(schema) <= SCHEMA_FIELDS, set(schema) - SCHEMA_FIELDS
    assert schema["type"] in TYPES
    for part in [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]:
        check_schema(part)


def status_reply(status: int, name: str, message: str, *details: dict[str, Any]) -> Reply:
    return json_reply(
        status, {"error": {"code": status, "message": message, "status": name, "details": list(details)}}
    )


def quota_reply(retry_delay: str | None) -> Reply:
    """429 as the API says that a quota is used up."""
    quota = {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}],
    }
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": retry_delay}
    return status_reply(
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota.",
        quota,
        *([retry] if retry_delay else []),
    )


def candidate_reply(parts: list[dict[str, Any]], finish_reason: str = "STOP") -> Reply:
    candidate: dict[str, Any] = {"finishReason": finish_reason, "index": 0}
    if parts:
        candidate["content"] = {"parts": parts, "role": "model"}
    usage = {"promptTokenCount": 264, "candidatesTokenCount": 1290, "totalTokenCount": 1554}
    return json_reply(200, {"candidates": [candidate], "usageMetadata": usage, "modelVersion": IMAGE_MODEL})


def blocked_reply(reason: str) -> Reply:
    return json_reply(
        200, {"promptFeedback": {"blockReason": reason}, "usageMetadata": {"promptTokenCount": 8}}
    )


def picture_reply(image: Image.Image, *, first: str = "Here is your picture.") -> Reply:
    out = BytesIO()
    image.save(out, "PNG")
    data = base64.b64encode(out.getvalue()).decode()
    return candidate_reply([{"text": first}, {"inlineData": {"mimeType": "image/png", "data": data}}])


def text_reply(text: str) -> Reply:
    return candidate_reply([{"text": text}])


def json_reply(status: int, body: object) -> Reply:
    return Reply(status, json.dumps(body).encode(), {"content-type": "application/json; charset=UTF-8"})


@contextmanager
def running_gemini() -> Iterator[Gemini]:
    gemini = Gemini()
    gemini.gate.set()
    with small_server(gemini.answer) as url:
        gemini.url = url
        yield gemini
