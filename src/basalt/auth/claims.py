"""The least that the claims of an access token must be, whatever a hook made of them (GoTrue tokens/service.go
MinimumViableTokenSchema)."""

from collections.abc import Iterator
from typing import Any, Final

from basalt.auth.errors import AuthError

REQUIRED: Final = (
    "aud",
    "exp",
    "iat",
    "sub",
    "email",
    "phone",
    "role",
    "aal",
    "session_id",
    "is_anonymous",
)
# JSON types as JSON Schema names them
TYPES: Final[dict[str, tuple[str, ...]]] = {
    "aud": ("string", "array"),
    "exp": ("integer",),
    "jti": ("string",),
    "iat": ("integer",),
    "iss": ("string",),
    "nbf": ("integer",),
    "sub": ("string",),
    "email": ("string",),
    "phone": ("string",),
    "app_metadata": ("object",),
    "user_metadata": ("object",),
    "role": ("string",),
    "aal": ("string",),
    "amr": ("array",),
    "session_id": ("string",),
    "client_id": ("string",),
}


def check_claims(claims: object) -> dict[str, Any]:
    """Raises AuthError unexpected_failure with everything that is wrong."""
    if not isinstance(claims, dict):
        problems = [f"(root): Invalid type. Expected: object, given: {_type_of(claims)}"]
    else:
        problems = list(_find_problems(claims))
        if not problems:
            return claims
    listed = "".join(f"- {problem}\n" for problem in problems)
    message = f"output claims do not conform to the expected schema: \n{listed}"
    raise AuthError("unexpected_failure", message)


def _find_problems(claims: dict[str, Any]) -> Iterator[str]:
    for name in REQUIRED:
        if name not in claims:
            yield f"(root): {name} is required"
    for name, types in TYPES.items():
        if name in claims and _type_of(claims[name]) not in types:
            yield f"{name}: Invalid type. Expected: {'/'.join(types)}, given: {_type_of(claims[name])}"
    methods = claims.get("amr")
    for number, method in enumerate(methods if isinstance(methods, list) else ()):
        if not isinstance(method, str | dict):
            yield f"amr.{number}: Must validate at least one schema (anyOf)"


def _type_of(value: object) -> str:
    """
    >>> _type_of(True), _type_of(1), _type_of(1.0), _type_of(1.5)
    ('boolean', 'integer', 'integer', 'number')
    """
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
