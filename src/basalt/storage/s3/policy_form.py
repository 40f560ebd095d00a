"""Uploads by an HTML form: a signed policy says what the form may hold (S3 API reference, "Creating a POST policy").

The form is read up to its file; what comes after the file is of no account.
"""

import base64
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from basalt.access import Caller
from basalt.http import Request, Response
from basalt.storage.api.form import FormUpload, boundary_of
from basalt.storage.errors import StorageError
from basalt.storage.names import check_object_name
from basalt.storage.s3.call import S3Call
from basalt.storage.s3.credentials import Keyring
from basalt.storage.s3.metadata import build_new_object
from basalt.storage.s3.payload import NO_LIMIT
from basalt.storage.s3.signature import ALGORITHM, parse_credential, sign
from basalt.storage.s3.xml import xml_response
from basalt.storage.uploads import permit_upload, store_upload

MAX_FORM_BYTES: Final = 2 * 1024 * 1024  # up to the file
EXEMPT: Final = frozenset(
    {
        "policy",
        "x-amz-signature",
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-security-token",
    }
)
STATUSES: Final = frozenset({"200", "201", "204"})


@dataclass(frozen=True, slots=True)
class PolicyForm:
    """A form that is as its policy wants it: `fields` by lower-case name, the file with from `least` to `most`
    bytes."""

    caller: Caller
    fields: Mapping[str, str]
    upload: FormUpload
    least: int
    most: int

    async def file(self) -> AsyncIterator[bytes]:
        """Raises StorageError EntityTooLarge, EntityTooSmall."""
        size = 0
        async for piece in self.upload.file():
            size += len(piece)
            if size > self.most:
                raise StorageError("EntityTooLarge")
            yield piece
        if size < self.least:
            raise StorageError("EntityTooSmall")


async def read_policy_form(keyring: Keyring, request: Request, bucket: str) -> PolicyForm:
    """Raises StorageError AccessDenied, SignatureDoesNotMatch, ExpiredToken, InvalidSignature, InvalidRequest."""
    boundary = boundary_of(request.headers.get("content-type"))
    reading = _Reading(request)
    upload = FormUpload(boundary or b"", reading.chunks())
    await upload.find_file()
    reading.is_in_file = True
    fields = lower_case(upload.fields)
    policy = fields.get("policy")
    if policy is None or "x-amz-signature" not in fields:
        raise StorageError("AccessDenied", "Missing signature")
    caller = _signer_of(keyring, fields, policy)
    least, most = check_policy(parse_policy(policy), {**fields, "bucket": bucket}, datetime.now(UTC))
    fields["key"] = fields.get("key", "").replace("${filename}", _base_name(upload.filename))
    return PolicyForm(caller, fields, upload, least, most)


class _Reading:
    """The body; up to the file only so much of it."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.is_in_file = False

    async def chunks(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._request.stream(NO_LIMIT):
            size += len(chunk)
            if size > MAX_FORM_BYTES and not self.is_in_file:
                raise StorageError("EntityTooLarge", f"The form has more than {MAX_FORM_BYTES} bytes")
            yield chunk


def _signer_of(keyring: Keyring, fields: Mapping[str, str], policy: str) -> Caller:
    if fields.get("x-amz-algorithm", ALGORITHM) != ALGORITHM:
        raise StorageError("InvalidSignature", f"x-amz-algorithm must be {ALGORITHM}")
    credential = parse_credential(fields.get("x-amz-credential", ""))
    token = fields.get("x-amz-security-token") or None
    given = fields["x-amz-signature"].lower().encode()
    for key in keyring.signing_keys(credential, token):
        if hmac.compare_digest(sign(key, policy).encode(), given):
            return keyring.caller(token)
    raise StorageError("SignatureDoesNotMatch")


def lower_case(fields: Mapping[str, str]) -> dict[str, str]:
    """Raises StorageError InvalidRequest when two fields differ in case alone."""
    lowered = {name.lower(): value for name, value in fields.items()}
    if len(lowered) != len(fields):
        raise StorageError("InvalidRequest", "A field of the form is there twice")
    return lowered


def parse_policy(encoded: str) -> dict[str, Any]:
    """Raises StorageError InvalidSignature."""
    try:
        policy = json.loads(base64.b64decode(encoded, validate=True))
    except (ValueError, RecursionError) as error:
        raise StorageError("InvalidSignature", "The policy is not JSON in Base64") from error
    if not isinstance(policy, dict) or not isinstance(policy.get("conditions"), list):
        raise StorageError("InvalidSignature", "The policy has no conditions")
    return policy


def check_policy(policy: Mapping[str, Any], fields: Mapping[str, str], now: datetime) -> tuple[int, int]:
    """The least and the most bytes that the file may have. `fields` by lower-case name, the bucket among them. Raises
    StorageError ExpiredToken, AccessDenied, InvalidSignature."""
    if parse_expiration(policy.get("expiration")) < now:
        raise StorageError("ExpiredToken")
    least, most = 0, NO_LIMIT
    covered = set(EXEMPT)
    for condition in policy["conditions"]:
        match condition:
            case ["content-length-range", int(low), int(high)]:
                least, most = max(least, low), min(most, high)
            case ["eq" | "starts-with" as operator, str(target), value] if target.startswith("$"):
                covered.add(_check_field(operator, target[1:], value, fields))
            case dict() if len(condition) == 1:
                [(name, value)] = condition.items()
                covered.add(_check_field("eq", name, value, fields))
            case _:
                raise StorageError("InvalidSignature", "The policy has a condition of an unknown kind")
    uncovered = [name for name in fields if name not in covered and not name.startswith("x-ignore-")]
    if uncovered:
        raise StorageError("AccessDenied", f"The policy says nothing about the field {uncovered[0]}")
    return least, most


def _check_field(operator: str, name: str, value: object, fields: Mapping[str, str]) -> str:
    """The field's name when it is as the condition says."""
    name = name.lower()
    given, wanted = fields.get(name), str(value)
    is_met = given is not None and (given == wanted if operator == "eq" else given.startswith(wanted))
    if not is_met:
        raise StorageError("AccessDenied", f"The field {name} is not as the policy says")
    return name


def parse_expiration(text: object) -> datetime:
    """
    >>> parse_expiration("2026-01-01T12:00:00.000Z").isoformat()
    '2026-01-01T12:00:00+00:00'
    """
    try:
        expiration = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise StorageError("InvalidSignature", "The policy has no expiration") from error
    return expiration if expiration.tzinfo is not None else expiration.replace(tzinfo=UTC)


def _base_name(filename: str) -> str:
    return filename.replace("\\", "/").rpartition("/")[2]


async def post(call: S3Call) -> Response:
    """200, or what `success_action_status` asks for."""
    assert call.form is not None
    fields = call.form.fields
    key = check_object_name(fields["key"])
    new = build_new_object(call.bucket, key, fields, size=None)
    permit = await permit_upload(call.ctx, call.scope, new)
    stored = await store_upload(call.ctx, call.scope, permit, call.form.file())
    status = fields.get("success_action_status", "200")
    headers = [(b"etag", stored.etag.encode("latin-1"))]
    if status != "201":
        return Response(int(status) if status in STATUSES else 200, headers)
    content = [
        ("Location", f"{call.bucket}/{key}"),
        ("Bucket", call.bucket),
        ("Key", key),
        ("ETag", stored.etag),
    ]
    response = xml_response("PostResponse", content, 201)
    response.headers.extend(headers)
    return response
