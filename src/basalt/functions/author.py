"""What the author of a function works with: the request and the answer. (`context` is beside.)"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

import orjson

from basalt.functions.errors import FunctionError
from basalt.functions.form import Form, parse_form
from basalt.late import LateModule

if TYPE_CHECKING:
    import pydantic
else:  # gateway and worker have no use for it
    pydantic = LateModule("pydantic")

Model = TypeVar("Model", bound="pydantic.BaseModel")


class Request:
    """`path` begins with the function's name; header names are in lower case, repeated ones are joined by a comma
    (cookies by a semicolon)."""

    __slots__ = ("_pairs", "body", "headers", "method", "path", "query_string")

    def __init__(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        query_string: str = "",
        body: bytes = b"",
    ) -> None:
        self.method = method
        self.path = path
        self.headers: Mapping[str, str] = {} if headers is None else headers
        self.query_string = query_string
        self.body = body
        self._pairs: list[tuple[str, str]] | None = None

    @property
    def query(self) -> Mapping[str, str]:
        """The query parameters; of repeated ones the last counts."""
        return dict(self._query_pairs())

    def query_all(self, name: str) -> list[str]:
        """Every value of a parameter, in order."""
        return [value for key, value in self._query_pairs() if key == name]

    def text(self) -> str:
        """The body as text. Raises FunctionError INVALID_TEXT (400) when it is not UTF-8."""
        try:
            return self.body.decode()
        except UnicodeDecodeError as exc:
            raise FunctionError("INVALID_TEXT", "The body is not UTF-8") from exc

    def json(self) -> Any:
        """The body as JSON. Raises FunctionError INVALID_JSON (400)."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as exc:
            raise FunctionError("INVALID_JSON", "The body is not valid JSON") from exc

    def form(self) -> Form:
        """The body as a form, of either kind. Raises FunctionError INVALID_FORM (400)."""
        return parse_form(self.body, self.headers.get("content-type", ""))

    def parse(self, model: type[Model]) -> Model:
        """The body as a pydantic model. Raises FunctionError INVALID_JSON or VALIDATION_ERROR (400), which
        names every wrong field."""
        value = self.json()
        try:
            return model.model_validate(value)
        except pydantic.ValidationError as exc:
            problems = [
                {"path": ".".join(map(str, problem["loc"])), "message": problem["msg"]}
                for problem in exc.errors(include_url=False, include_context=False, include_input=False)
            ]
            first = problems[0]
            message = f"{first['path']}: {first['message']}" if first["path"] else first["message"]
            raise FunctionError("VALIDATION_ERROR", message, details=problems) from exc

    def _query_pairs(self) -> list[tuple[str, str]]:
        if self._pairs is None:
            self._pairs = parse_qsl(self.query_string, keep_blank_values=True)
        return self._pairs


Body = AsyncIterator[bytes | str]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer with a status and headers of its own; `body` is bytes, text, anything that JSON can say, or an
    asynchronous iterator of bytes and texts, which are sent as they come. Headers are a mapping, or pairs where a name
    comes several times (`set-cookie`)."""

    body: object = None
    status: int = 200
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = field(default_factory=dict)
