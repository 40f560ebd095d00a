"""Gemini by Google's REST API, `models.generateContent` of v1beta: a picture in, a picture or JSON by a schema out.

https://ai.google.dev/api/generate-content, https://ai.google.dev/gemini-api/docs/image-generation,
…/structured-output and …/troubleshooting. What is sent of the user's picture has no metadata.
"""

import asyncio
import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import httpx2
from _shared.errors import error
from _shared.image_input import MAX_RESULT_BYTES, Picture, decode_picture, encode_for_model
from _shared.models import Task, on_a_thread
from jsonschema import Draft202012Validator
from PIL import Image

from basalt.functions import FunctionError

API_URL = "https://generativelanguage.googleapis.com"
IMAGE_MODEL = "gemini-3.1-flash-image"
ANALYSIS_MODEL = "gemini-3.5-flash"
TIMEOUT_S = 75.0
BUSY_S = 30

# https://ai.google.dev/api/generate-content#FinishReason: what is a refusal. The others are failures.
REFUSALS = frozenset({
    "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
})  # fmt: skip
# The status and reason of google.rpc errors that the operator has to mend.
OURS = frozenset(
    {"UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "FAILED_PRECONDITION", "API_KEY_INVALID"}
)

_HEX = {"type": "string", "description": "sRGB, #rrggbb"}
_PALETTE = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"hex": _HEX, "share": {"type": "number", "description": "of 1"}},
        "required": ["hex", "share"],
    },
}
_TEXTS = {"type": "array", "items": {"type": "string"}}

# JSON Schemas of what an analysis answers; a tool that an operator adds has the last one.
SCHEMAS: Mapping[str, dict[str, Any]] = {
    "face_analysis": {
        "type": "object",
        "properties": {
            "face_shape": {
                "type": "string",
                "enum": ["oval", "round", "square", "heart", "diamond", "oblong", "triangle", "unclear"],
            },
            "proportions": {"type": "string"},
            "suitable_hairstyles": _TEXTS,
            "summary": {"type": "string"},
        },
        "required": ["face_shape", "suitable_hairstyles", "summary"],
    },
    "skin_tone": {
        "type": "object",
        "properties": {
            "palette": _PALETTE,
            "tone": {"type": "string"},
            "undertone": {"type": "string", "enum": ["warm", "cool", "neutral"]},
            "suitable_colors": _TEXTS,
        },
        "required": ["palette", "tone", "undertone", "suitable_colors"],
    },
    "photo_quality": {
        "type": "object",
        "properties": {
            "light": {"type": "string"},
            "sharpness": {"type": "string"},
            "noise": {"type": "string"},
            "framing": {"type": "string"},
            "score": {"type": "integer", "description": "0 to 100", "minimum": 0, "maximum": 100},
        },
        "required": ["light", "sharpness", "noise", "framing", "score"],
    },
}
ANY_ANALYSIS: dict[str, Any] = {
    "type": "object",
    "properties": {"summary": {"type": "string"}, "findings": _TEXTS},
    "required": ["summary"],
}

_http = httpx2.AsyncClient(timeout=httpx2.Timeout(None, connect=10))


class Gemini:
    """`GEMINI_API_KEY`; `GEMINI_IMAGE_MODEL`, `GEMINI_ANALYSIS_MODEL`, `GEMINI_TIMEOUT_S` and `GEMINI_API_URL` have
    defaults."""

    def __init__(self, env: Mapping[str, str], http: httpx2.AsyncClient = _http) -> None:
        self._key = env["GEMINI_API_KEY"]
        self._url = env.get("GEMINI_API_URL", API_URL).rstrip("/")
        self.image_model = env.get("GEMINI_IMAGE_MODEL", IMAGE_MODEL)
        self.analysis_model = env.get("GEMINI_ANALYSIS_MODEL", ANALYSIS_MODEL)
        self._timeout_s = float(env.get("GEMINI_TIMEOUT_S", TIMEOUT_S))
        self._http = http

    async def edit(self, task: Task, picture: Picture) -> tuple[Image.Image, str]:
        parts = await self._ask(self.image_model, task, picture, {"responseModalities": ["TEXT", "IMAGE"]})
        for part in parts:
            sent = part.get("inlineData")
            if isinstance(sent, dict) and str(sent.get("mimeType", "")).startswith("image/"):
                return await on_a_thread(_decode, sent.get("data")), self.image_model
        raise _failure("an answer without a picture")

    async def analyse(self, task: Task, picture: Picture) -> tuple[dict[str, Any], str]:
        schema = SCHEMAS.get(task.tool_id, ANY_ANALYSIS)
        parts = await self._ask(
            self.analysis_model,
            task,
            picture,
            {"responseMimeType": "application/json", "responseSchema": to_google_schema(schema)},
        )
        text = "".join(str(part.get("text", "")) for part in parts)
        try:
            value = json.loads(text)
        except ValueError as exc:
            raise _failure("an analysis that is not JSON") from exc
        if not isinstance(value, dict) or not Draft202012Validator(schema).is_valid(value):
            raise _failure("an analysis that does not follow its schema")
        return value, self.analysis_model

    async def _ask(
        self, model: str, task: Task, picture: Picture, config: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The parts of the answer that are no thoughts."""
        image = await on_a_thread(encode_for_model, picture.image)
        inline = {"mime_type": image.content_type, "data": base64.b64encode(image.body).decode()}
        body = {
            "contents": [{"role": "user", "parts": [{"text": write_prompt(task)}, {"inline_data": inline}]}],
            "generationConfig": config,
        }
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._http.post(
                    f"{self._url}/v1beta/models/{model}:generateContent",
                    headers={"x-goog-api-key": self._key},
                    json=body,
                )
        except (TimeoutError, httpx2.TimeoutException) as exc:
            raise error("MODEL_TIMEOUT") from exc
        except httpx2.HTTPError as exc:
            raise _failure("no answer at all") from exc
        if answer.status_code != 200:
            raise read_error(answer.status_code, answer.content)
        return read_parts(answer.content)


def write_prompt(task: Task) -> str:
    """The tool's words, then its parameters as JSON, then what the chosen rows say."""
    lines = [task.prompt or f"Apply the tool {task.tool_id} to this photograph."]
    plain = {
        name: value for name, value in task.parameters.items() if name not in ("color_id", "hairstyle_id")
    }
    if plain:
        lines.append(f"Parameters: {json.dumps(plain, ensure_ascii=False, sort_keys=True)}")
    if task.color:
        lines.append(f"Colour: {task.color['name']} ({task.color['hex']})")
    if task.hairstyle:
        lines.append(f"Hairstyle: {task.hairstyle['description'] or task.hairstyle['name']}")
    return "\n".join(lines)


def to_google_schema(schema: Any) -> Any:
    """The subset of OpenAPI that `responseSchema` takes, with its types in capitals.

    >>> to_google_schema({"type": "array", "items": {"type": "string"}})
    {'type': 'ARRAY', 'items': {'type': 'STRING'}}
    """
    if isinstance(schema, list):
        return [to_google_schema(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.upper() if name == "type" and isinstance(value, str) else to_google_schema(value)
        for name, value in schema.items()
    }


def read_parts(raw: bytes) -> list[dict[str, Any]]:
    """Raises MODEL_REFUSED (422) with Google's reason, or MODEL_FAILED (502)."""
    try:
        answer = json.loads(raw)
        blocked = (answer.get("promptFeedback") or {}).get("blockReason")
        if blocked:
            raise error("MODEL_REFUSED", details={"reason": str(blocked)})
        candidate = answer["candidates"][0]
        reason = str(candidate.get("finishReason", "STOP"))
        if reason in REFUSALS:
            raise error("MODEL_REFUSED", details={"reason": reason})
        if reason != "STOP":
            raise _failure(f"an answer that ended with {reason}")
        return [part for part in candidate["content"]["parts"] if not part.get("thought")]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as exc:
        raise _failure("an answer of another shape") from exc


def read_error(status: int, raw: bytes) -> FunctionError:
    """A `google.rpc.Status` as an error of ours: https://ai.google.dev/gemini-api/docs/troubleshooting."""
    told, reason, delay_s = _read_status(raw)
    if status in (401, 403, 404) or told in OURS or reason in OURS:
        return error("MODEL_NOT_CONFIGURED", details={"reason": reason or told or str(status)})
    if status == 429 or status == 503:
        return error("MODEL_BUSY", details={"retry_after_s": delay_s or BUSY_S})
    if status in (408, 504):
        return error("MODEL_TIMEOUT")
    return _failure(f"status {status} {told}".strip())


def _read_status(raw: bytes) -> tuple[str, str, int | None]:
    """Its status, the reason of its ErrorInfo and the delay of its RetryInfo in whole seconds; empty where it is none,
    for what stands before the API answers in HTML."""
    try:
        problem = json.loads(raw)["error"]
        details = [detail for detail in problem.get("details", ()) if isinstance(detail, dict)]
        reasons = [str(detail["reason"]) for detail in details if "reason" in detail]
        delays = [
            math.ceil(float(found[1]))
            for detail in details
            if (found := re.fullmatch(r"(\d{1,5}(?:\.\d+)?)s", str(detail.get("retryDelay", ""))))
        ]
        return str(problem.get("status", "")), next(iter(reasons), ""), next(iter(delays), None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", "", None


def _decode(data: object) -> Image.Image:
    try:
        raw = base64.b64decode(str(data), validate=True)
        return decode_picture(raw, max_bytes=MAX_RESULT_BYTES).image
    except (binascii.Error, FunctionError) as exc:
        raise _failure("a picture that cannot be read") from exc


def _failure(what: str) -> FunctionError:
    return error("MODEL_FAILED", details={"reason": what})
