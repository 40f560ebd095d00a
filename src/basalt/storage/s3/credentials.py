"""Who calls: the claim that a request makes, the keys that there are, and whether the signature is theirs.

There are two kinds of credentials: the project's fixed pair, which acts as `service_role`, and a user's: the project's
reference as access key, the anon or the publishable key as secret, and the user's JWT as session token, whose role and
claims count. The secret of the second kind is public; what protects anything there is the JWT.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from basalt.access import AccessError, Authoriser, Caller
from basalt.http import Request
from basalt.storage.context import StorageContext
from basalt.storage.errors import StorageError, error_of_access
from basalt.storage.s3.payload import MAX_DOCUMENT_BYTES, UNSIGNED, Payload
from basalt.storage.s3.signature import (
    ALGORITHM,
    AUTHORIZATION,
    ChunkSigner,
    Credential,
    build_canonical_request,
    build_string_to_sign,
    derive_key,
    parse_credential,
    sign,
)
from basalt.storage.s3_keys import s3_key_pair

SKEW: Final = timedelta(minutes=15)
MAX_EXPIRES_S: Final = 7 * 86400
OTHER_REGIONS: Final = frozenset({"auto", "us-east-1", ""})
DEFAULT_PORTS: Final = frozenset({"80", "443"})
# Whoever holds a presigned URL must not make another request of it: an upload with `x-amz-copy-source` would read
# with the signer's rights. These alone mean nothing here, and CDNs add them.
MAY_BE_UNSIGNED: Final = frozenset({"x-amz-cf-id", "x-amz-content-sha256"})


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says about its signature. `expires_s` is only in presigned URLs."""

    credential: Credential
    signed_headers: tuple[str, ...]
    signature: str
    time: str
    session_token: str | None
    payload_kind: str | None
    expires_s: int | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has signed, and the body that they sent."""

    caller: Caller
    payload: Payload


class Keyring:
    """The credentials of a project."""

    def __init__(self, ctx: StorageContext, authoriser: Authoriser) -> None:
        self._access_key, self._secret = s3_key_pair(ctx.settings, ctx.keys)
        self._project_id = ctx.project_id
        self._project_secrets = (ctx.keys.anon_key, ctx.keys.publishable_key)
        self._service_key = ctx.keys.service_role_key
        self._region = ctx.settings.s3_region
        self._authoriser = authoriser

    def signing_keys(self, credential: Credential, session_token: str | None) -> Iterator[bytes]:
        """The keys by which the signature may be. Raises StorageError AccessDenied when the access key is
        unknown."""
        if credential.service != "s3":
            raise StorageError("AccessDenied", "Invalid Service")
        known = self._access_key if session_token is None else self._project_id
        if credential.access_key != known:
            raise StorageError("AccessDenied", "Invalid Access Key")
        region = credential.region if credential.region in OTHER_REGIONS else self._region
        for secret in (self._secret,) if session_token is None else self._project_secrets:
            yield derive_key(secret, credential.date, region, credential.service)

    def caller(self, session_token: str | None) -> Caller:
        """Who a verified signature stands for. Raises StorageError AccessDenied."""
        token = self._service_key if session_token is None else session_token
        known = self._authoriser.caller_of_api_key(token)
        if known is not None:
            return known
        try:
            return self._authoriser.verify(token)
        except AccessError as error:
            raise error_of_access(error) from error


async def identify(keyring: Keyring, request: Request, query: Sequence[tuple[str, str]]) -> Identity:
    """Raises StorageError AccessDenied, SignatureDoesNotMatch, RequestTimeTooSkewed, ExpiredToken,
    InvalidSignature."""
    claim = find_claim(request, query)
    check_time(claim, datetime.now(UTC))
    check_all_signed(claim, request)
    keys = list(keyring.signing_keys(claim.credential, claim.session_token))
    kind, body = claim.payload_kind, None
    if kind is None:
        body = await request.body(MAX_DOCUMENT_BYTES)
        kind = hashlib.sha256(body).hexdigest()
    for key in keys:
        if is_signed_by(key, claim, request, query, kind):
            signer = ChunkSigner(key, claim.time, claim.credential.scope, claim.signature)
            return Identity(keyring.caller(claim.session_token), Payload(request, kind, signer, body))
    raise StorageError("SignatureDoesNotMatch")


def find_claim(request: Request, query: Sequence[tuple[str, str]]) -> Claim:
    """In the `Authorization` header, or in the query: browsers and proxies add a bearer token to presigned URLs."""
    header = request.headers.get("authorization") or ""
    if header.startswith(f"{ALGORITHM} "):
        return _claim_of_header(request, header)
    values = dict(query)
    if "X-Amz-Credential" in values:
        return _claim_of_query(request, values)
    raise StorageError("AccessDenied", "Missing signature")


def _claim_of_header(request: Request, header: str) -> Claim:
    found = AUTHORIZATION.fullmatch(header.strip())
    time = request.headers.get("x-amz-date")
    if found is None or time is None:
        raise StorageError("InvalidSignature", "The Authorization header or x-amz-date is malformed")
    return Claim(
        credential=parse_credential(found[1]),
        signed_headers=_names(found[2]),
        signature=found[3].lower(),
        time=time,
        session_token=request.headers.get("x-amz-security-token") or None,
        payload_kind=request.headers.get("x-amz-content-sha256"),
    )


def _claim_of_query(request: Request, values: dict[str, str]) -> Claim:
    names = ("X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Date", "X-Amz-Expires")
    missing = [name for name in names if not values.get(name)]
    if missing:
        raise StorageError("InvalidSignature", f"{missing[0]} is missing")
    if values.get("X-Amz-Algorithm", ALGORITHM) != ALGORITHM:
        raise StorageError("InvalidSignature", f"X-Amz-Algorithm must be {ALGORITHM}")
    sent = values.get("X-Amz-Content-Sha256") or request.headers.get("x-amz-content-sha256")
    return Claim(
        credential=parse_credential(values["X-Amz-Credential"]),
        signed_headers=_names(values["X-Amz-SignedHeaders"]),
        signature=values["X-Amz-Signature"].lower(),
        time=values["X-Amz-Date"],
        session_token=values.get("X-Amz-Security-Token") or None,
        payload_kind=UNSIGNED if request.method in ("GET", "HEAD") else sent or UNSIGNED,
        expires_s=_expires(values["X-Amz-Expires"]),
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.lower().split(";"))


def _expires(text: str) -> int:
    expires_s = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0
    if not 1 <= expires_s <= MAX_EXPIRES_S:
        raise StorageError("InvalidSignature", f"X-Amz-Expires must be from 1 to {MAX_EXPIRES_S}")
    return expires_s


def check_time(claim: Claim, now: datetime) -> None:
    """Raises StorageError RequestTimeTooSkewed, ExpiredToken, InvalidSignature."""
    signed_at = parse_time(claim.time)
    if claim.credential.date != claim.time[:8]:
        raise StorageError("InvalidSignature", "The date of the credential is not the one of the request")
    if claim.expires_s is None:
        if abs(now - signed_at) > SKEW:
            raise StorageError("RequestTimeTooSkewed")
    elif signed_at - now > SKEW:
        raise StorageError("RequestTimeTooSkewed")
    elif now > signed_at + timedelta(seconds=claim.expires_s):
        raise StorageError("ExpiredToken")


def parse_time(text: str) -> datetime:
    """
    >>> parse_time("20260101T120000Z").isoformat()
    '2026-01-01T12:00:00+00:00'
    """
    try:
        if not re.fullmatch(r"\d{8}T\d{6}Z", text, re.ASCII):
            raise ValueError(text)
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise StorageError("InvalidSignature", "The date is malformed") from error


def check_all_signed(claim: Claim, request: Request) -> None:
    """`host` and every header that Amazon gives a meaning. Raises StorageError AccessDenied."""
    sent = {name.decode("latin-1") for name, _ in request.headers.raw if name.startswith(b"x-amz-")}
    unsigned = ({"host"} | sent) - MAY_BE_UNSIGNED - set(claim.signed_headers)
    if unsigned:
        raise StorageError("AccessDenied", f"Not signed: {', '.join(sorted(unsigned))}")


def is_signed_by(
    key: bytes, claim: Claim, request: Request, query: Sequence[tuple[str, str]], payload_kind: str
) -> bool:
    """Whether the signature is by this key, for one of the addresses that the client may have used."""
    pairs = [pair for pair in query if claim.expires_s is None or pair[0] != "X-Amz-Signature"]
    path = request.prefix + request.raw_path
    is_signed = False
    for host in hosts(request):
        canonical = build_canonical_request(
            request.method, path, pairs, request.headers, claim.signed_headers, payload_kind, host=host
        )
        expected = sign(key, build_string_to_sign(claim.time, claim.credential.scope, canonical))
        is_signed |= hmac.compare_digest(expected.encode(), claim.signature.encode())
    return is_signed


def hosts(request: Request) -> list[str]:
    """What the client may have called this server: as it arrived here, and as a proxy says."""
    headers = request.headers
    found = [headers.get("host") or ""]
    forwarded = headers.get("x-forwarded-host")
    if forwarded:
        host = forwarded.split(",")[0].strip().lower()
        port = (headers.get("x-forwarded-port") or "").split(",")[0].strip()
        found.append(host)
        if port and port not in DEFAULT_PORTS:
            found.append(f"{re.sub(r':[0-9]+$', '', host)}:{port}")
    return found
