"""What the author of a function works with: the request, the context, the answer."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from basalt.functions.database import Database
from basalt.functions.errors import FunctionError

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Request:
    """`path` begins with the function's name; header names are lower case; of repeated ones and of
    repeated query parameters the last value counts."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        """The body as JSON. Raises FunctionError INVALID_JSON (400)."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as exc:
            raise FunctionError("INVALID_JSON", "The body is not valid JSON") from exc

    def parse(self, model: type[Model]) -> Model:
        """The body as a pydantic model. Raises FunctionError INVALID_JSON or VALIDATION_ERROR (400), which
        names every wrong field."""
        value = self.json()
        try:
            return model.model_validate(value)
        except ValidationError as exc:
            problems = [
                {"path": ".".join(map(str, problem["loc"])), "message": problem["msg"]}
                for problem in exc.errors(include_url=False, include_context=False, include_input=False)
            ]
            first = problems[0]
            message = f"{first['path']}: {first['message']}" if first["path"] else first["message"]
            raise FunctionError("VALIDATION_ERROR", message, details=problems) from exc


@dataclass(frozen=True, slots=True)
class Response:
    """An answer with a status and headers of its own; `body` is bytes, text, or anything that JSON can
    say."""

    body: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """`db` acts as the caller, under row-level security; `service_db` as `service_role`. `env` holds the
    project's secrets."""

    request_id: str
    role: str
    claims: Mapping[str, Any]
    env: Mapping[str, str]
    db: Database
    service_db: Database
    log: logging.Logger

    @property
    def user_id(self) -> str | None:
        """The signed-in user; None for API keys."""
        subject = self.claims.get("sub")
        return subject if isinstance(subject, str) else None
