"""The S3 protocol from outside: clients with each kind of credentials, and requests signed by hand."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import boto3
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from basalt.access import ProjectKeys
from tests.server import Server

BASE = "/storage/v1/s3"
REGION = "local"


def service_credentials(server: Server) -> Credentials:
    """The fixed pair that a project derives from its secret."""
    keys = ProjectKeys(
        jwt_secret=server.jwt_secret,
        publishable_key="",
        secret_key="",
        anon_key="",
        service_role_key="",
        signing_keys=(),
        signs_with_secret=True,
    )
    return Credentials(keys.s3_access_key_id, keys.s3_secret_access_key)


def user_credentials(server: Server, token: str) -> Credentials:
    return Credentials("depot", server.anon_key, token)


@contextmanager
def s3_client(server: Server, credentials: Credentials, **config: Any) -> Iterator[Any]:
    """boto3, path style, without patience."""
    client = boto3.client(
        "s3",
        endpoint_url=f"{server.url}{BASE}",
        region_name=REGION,
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        aws_session_token=credentials.token,
        config=Config(retries={"max_attempts": 1}, **{"s3": {"addressing_style": "path"}, **config}),
    )
    try:
        yield client
    finally:
        client.close()


def error_of(error: ClientError) -> tuple[int, str]:
    """Status and code."""
    response: Any = error.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def sign_request(
    server: Server,
    credentials: Credentials,
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    region: str = REGION,
) -> AWSRequest:
    """By botocore, in the headers. `path` is below the protocol's base and sent as it is."""
    url = f"{server.url}{BASE}{path}"
    if query:
        url += f"?{urlencode(query, quote_via=quote)}"
    request = AWSRequest(method, url, headers=dict(headers or {}), data=body)
    # Botocore computes the hash of the body itself unless one is there.
    signer = _GivenHash if "x-amz-content-sha256" in {name.lower() for name in headers or {}} else S3SigV4Auth
    signer(credentials, "s3", region).add_auth(request)
    return request


class _GivenHash(S3SigV4Auth):
    def payload(self, request: AWSRequest) -> str:
        return str(request.headers["x-amz-content-sha256"])

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        given = request.headers["x-amz-content-sha256"]
        super()._modify_request_before_signing(request)
        del request.headers["x-amz-content-sha256"]
        request.headers["x-amz-content-sha256"] = given


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def code(self) -> str:
        """Of an error."""
        assert self.status >= 400
        return self.text.partition("<Code>")[2].partition("</Code>")[0]


def send(
    request: AWSRequest, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """A signed request, with another body or more headers when these are given."""
    content = request.data if body is None else body
    return fetch(request.method, request.url, content, {**dict(request.headers.items()), **(headers or {})})


def fetch(method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """A request as it is; other clients would tidy the path up."""
    parts = urlsplit(url)
    with closing(HTTPConnection(parts.netloc, timeout=30)) as connection:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body or None, dict(headers or {}))
        response = connection.getresponse()
        sent = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, sent, response.read())


def post_form(url: str, fields: Mapping[str, str], content: bytes, filename: str = "a.txt") -> Answer:
    """A form whose last field is the file."""
    boundary = "boundary-of-the-form"
    parts = [
        f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
    body = b"".join([*parts, head.encode(), content, f"\r\n--{boundary}--\r\n".encode()])
    return fetch("POST", url, body, {"content-type": f"multipart/form-data; boundary={boundary}"})


def presign(
    server: Server,
    credentials: Credentials,
    method: str,
    path: str,
    *,
    expires_s: int = 60,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> str:
    url = f"{server.url}{BASE}{path}"
    if query:
        url += f"?{urlencode(query, quote_via=quote)}"
    request = AWSRequest(method, url, headers=dict(headers or {}))
    S3SigV4QueryAuth(credentials, "s3", REGION, expires=expires_s).add_auth(request)
    return str(request.url)


@dataclass(frozen=True)
class ChunkedBody:
    """A body in chunks, for a request that was signed with `seed`."""

    credentials: Credentials
    time: str
    seed: str

    def encode(
        self, pieces: Sequence[bytes], *, trailer: Mapping[str, str] | None = None, is_signed: bool = True
    ) -> bytes:
        previous = self.seed
        body = b""
        for piece in [*pieces, b""]:
            head = b"%x" % len(piece)
            if is_signed:
                digest = hashlib.sha256(piece).hexdigest()
                empty = hashlib.sha256(b"").hexdigest()
                previous = self._sign("AWS4-HMAC-SHA256-PAYLOAD", previous, empty, digest)
                head += b";chunk-signature=" + previous.encode()
            body += head + b"\r\n" + piece + (b"\r\n" if piece else b"")
        if trailer is None:
            return body + b"\r\n"
        body += "".join(f"{name}:{value}\r\n" for name, value in trailer.items()).encode()
        if is_signed:
            lines = "".join(f"{name}:{value}\n" for name, value in trailer.items())
            digest = hashlib.sha256(lines.encode()).hexdigest()
            signature = self._sign("AWS4-HMAC-SHA256-TRAILER", previous, digest)
            body += f"x-amz-trailer-signature:{signature}\r\n".encode()
        return body + b"\r\n"

    def _sign(self, kind: str, *lines: str) -> str:
        key = f"AWS4{self.credentials.secret_key}".encode()
        scope = f"{self.time[:8]}/{REGION}/s3/aws4_request"
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, "\n".join([kind, self.time, scope, *lines]).encode(), "sha256").hex()


def begin_chunked(
    server: Server,
    credentials: Credentials,
    path: str,
    size: int,
    *,
    kind: str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
) -> tuple[AWSRequest, ChunkedBody]:
    """A request whose chunks are still to be signed."""
    request = sign_request(
        server,
        credentials,
        "PUT",
        path,
        query=query,
        headers={
            "x-amz-content-sha256": kind,
            "content-encoding": "aws-chunked",
            "x-amz-decoded-content-length": str(size),
            **(headers or {}),
        },
    )
    seed = str(request.headers["Authorization"]).rpartition("Signature=")[2]
    return request, ChunkedBody(credentials, str(request.headers["X-Amz-Date"]), seed)


def policy_form(
    credentials: Credentials,
    conditions: Sequence[Any],
    fields: Mapping[str, str],
    *,
    expires: timedelta | None = timedelta(minutes=5),
) -> dict[str, str]:
    """The fields of a form under a policy with these conditions, besides those of the signature itself."""
    now = datetime.now(UTC)
    policy: dict[str, Any] = {"conditions": list(conditions)}
    if expires is not None:
        policy["expiration"] = (now + expires).strftime("%Y-%m-%dT%H:%M:%SZ")
    encoded = base64.b64encode(json.dumps(policy).encode()).decode()
    scope = f"{now:%Y%m%d}/{REGION}/s3/aws4_request"
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    form = {
        **fields,
        "Policy": encoded,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": f"{now:%Y%m%dT%H%M%SZ}",
        "X-Amz-Signature": hmac.digest(key, encoded.encode(), "sha256").hex(),
    }
    if credentials.token is not None:
        form["X-Amz-Security-Token"] = credentials.token
    return form
