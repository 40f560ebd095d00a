"""The catalogue of codes of Supabase Storage, and how an error looks in each of its protocols.

The JSON API answers nearly every error with HTTP 400 and has the real status as text in `statusCode`; resumable
uploads and S3 answer with the real one (`render.py` of each).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from basalt.access import AccessError
from basalt.errors import BasaltError
from basalt.http import Response, json_response
from basalt.postgres import PostgresError


class Entry(NamedTuple):
    """`error` is the label in the JSON, `status` the real one, `as_http` whether JSON answers with it too."""

    status: int
    error: str
    message: str
    as_http: bool = False


ERRORS: Final[Mapping[str, Entry]] = {
    "NoSuchBucket": Entry(404, "Bucket not found", "Bucket not found"),
    "NoSuchKey": Entry(404, "not_found", "Object not found"),
    "NoSuchUpload": Entry(404, "not_found", "Upload not found"),
    "BucketAlreadyExists": Entry(409, "Duplicate", "The resource already exists"),
    "KeyAlreadyExists": Entry(409, "Duplicate", "The resource already exists"),
    "ResourceAlreadyExists": Entry(409, "Duplicate", "The resource already exists"),
    "ResourceNotEmpty": Entry(409, "ResourceNotEmpty", "The bucket you tried to delete is not empty"),
    "ResourceReferenced": Entry(409, "ResourceReferenced", "Another table refers to this row"),
    "AccessDenied": Entry(403, "Unauthorized", "new row violates row-level security policy"),
    "InvalidJWT": Entry(400, "InvalidJWT", "Invalid JWT"),
    "InvalidSignature": Entry(400, "InvalidSignature", "Invalid signature"),
    "SignatureDoesNotMatch": Entry(
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided",
    ),
    "ExpiredToken": Entry(400, "ExpiredToken", "The provided token has expired."),
    "RequestTimeTooSkewed": Entry(
        403,
        "RequestTimeTooSkewed",
        "The difference between the request time and the server's time is too large",
    ),
    "InvalidKey": Entry(400, "InvalidKey", "Invalid key"),
    "InvalidBucketName": Entry(400, "Invalid Input", "Bucket name invalid"),
    "InvalidMimeType": Entry(415, "invalid_mime_type", "Invalid Content-Type header"),
    "EntityTooLarge": Entry(413, "Payload too large", "The object exceeded the maximum allowed size"),
    "EntityTooSmall": Entry(400, "EntityTooSmall", "The upload is smaller than the minimum allowed size"),
    "IncompleteBody": Entry(400, "IncompleteBody", "The body ended before its announced length"),
    "InvalidRange": Entry(416, "invalid_range", "invalid range provided", as_http=True),
    "InvalidRequest": Entry(400, "InvalidRequest", "The request is not valid"),
    "InvalidParameter": Entry(400, "InvalidParameter", "A parameter is not valid"),
    "MissingParameter": Entry(400, "MissingParameter", "A parameter is missing"),
    "InvalidChecksum": Entry(400, "InvalidChecksum", "The checksum does not match the content"),
    "InvalidDigest": Entry(400, "InvalidDigest", "The checksum is malformed"),
    "BadDigest": Entry(400, "BadDigest", "The checksum does not match the content"),
    "XAmzContentSHA256Mismatch": Entry(
        400, "XAmzContentSHA256Mismatch", "The x-amz-content-sha256 does not match the content"
    ),
    "MissingContentLength": Entry(411, "MissingContentLength", "The length of the body is missing"),
    "MalformedXML": Entry(400, "MalformedXML", "The XML is not well-formed or not what is expected here"),
    "InvalidPart": Entry(400, "InvalidPart", "One or more of the specified parts could not be found"),
    "InvalidPartOrder": Entry(400, "InvalidPartOrder", "The parts are not in ascending order"),
    "UploadOffsetConflict": Entry(409, "UploadOffsetConflict", "Upload-Offset conflict"),
    "UploadFinished": Entry(409, "UploadFinished", "The upload is finished"),
    "UploadExpired": Entry(410, "UploadExpired", "The upload has expired"),
    "UploadStalled": Entry(408, "UploadStalled", "No more bytes came; continue from the new offset"),
    "UploadTakenOver": Entry(400, "UploadTakenOver", "Another request continues this upload"),
    "PreconditionFailed": Entry(412, "PreconditionFailed", "A precondition of the request does not hold"),
    "FeatureNotEnabled": Entry(400, "FeatureNotEnabled", "The feature is not enabled for this project"),
    "NotSupported": Entry(400, "NotSupported", "This is not supported"),
    "NotImplemented": Entry(501, "NotImplemented", "This is not implemented"),
    "MethodNotAllowed": Entry(405, "MethodNotAllowed", "The method is not allowed here"),
    "UploadRefused": Entry(422, "UploadRefused", "The upload was refused", as_http=True),
    "ResourceLocked": Entry(423, "ResourceLocked", "The resource is locked", as_http=True),
    "LockTimeout": Entry(503, "acquiring_lock_timeout", "acquiring lock timeout", as_http=True),
    "SlowDown": Entry(429, "too_many_connections", "Too many requests; try again in a moment", as_http=True),
    "DatabaseTimeout": Entry(
        544, "DatabaseTimeout", "The connection to the database timed out", as_http=True
    ),
    "StoreFull": Entry(507, "StoreFull", "The server has no space left for the object", as_http=True),
    "InternalError": Entry(500, "internal", "Internal Server Error", as_http=True),
    "ServiceUnavailable": Entry(503, "ServiceUnavailable", "The service is not available", as_http=True),
}

TOKEN_MESSAGES: Final[Mapping[str, str]] = {
    "malformed": "Invalid Compact JWS",
    "signature": "signature verification failed",
    "unsupported_algorithm": "signature verification failed",
    "expired": '"exp" claim timestamp check failed',
    "not_yet_valid": '"nbf" claim timestamp check failed',
    "issued_in_future": '"iat" claim timestamp check failed',
    "unknown_key": "Invalid API key",
}


class StorageError(BasaltError):
    """`code` is one of `ERRORS`. `status` overrides the catalogue's, `http_status` the status of the JSON API, `label`
    its `error`, `s3_status` the status of S3, and `resource` is what S3 says it was about."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        status: int | None = None,
        http_status: int | None = None,
        label: str | None = None,
        s3_status: int | None = None,
        resource: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        entry = ERRORS[code]
        super().__init__(code, status or entry.status, message or entry.message, headers=headers)
        self.http_status = http_status or (entry.status if entry.as_http else 400)
        self.label = label or entry.error
        self.s3_status = s3_status or self.status
        self.resource = resource


def invalid_request(message: str) -> StorageError:
    """What validation refuses: `body must have required property 'name'`."""
    return StorageError("InvalidRequest", message, label="Error")


def content_missing() -> StorageError:
    """A row whose bytes are not there."""
    return StorageError("NoSuchKey", "The resource was not found", label="Not found")


def error_of_access(error: AccessError) -> StorageError:
    """What is wrong with a bearer token or an API key."""
    if error.reason == "no_secret":
        return StorageError("InternalError")
    return StorageError("AccessDenied", TOKEN_MESSAGES.get(error.reason, error.message))


def error_of_postgres(error: PostgresError) -> StorageError:
    """By SQLSTATE. What is none of the caller's business is for the log."""
    match error.sqlstate:
        case "42501" if "Direct deletion" not in error.message:
            return StorageError("AccessDenied", _policy_message(error))
        case "23505":
            return StorageError("ResourceAlreadyExists")
        case "23503":
            return StorageError("ResourceReferenced", error.detail or error.message)
        case "55P03":
            return StorageError("ResourceLocked")
        case "57014" | "25P03" | "25P04":
            return StorageError("DatabaseTimeout")
        case "22P02" | "22007" | "22008" | "22021" | "22P05":
            return StorageError("InvalidParameter", error.message)
        case "42703" | "42P01":
            return StorageError("ServiceUnavailable", error.message)
        case code if code.startswith("P0"):
            # A trigger of the project's own speaks to the caller.
            return StorageError("InvalidRequest", error.message)
        case "23502" | "23514":
            return StorageError("InvalidRequest", error.message)
        case _ if error.is_fatal:
            return StorageError("ServiceUnavailable")
        case _:
            return StorageError("InternalError")


def _policy_message(error: PostgresError) -> str:
    """PostgreSQL names the table; the contract does not.

    >>> _policy_message(PostgresError("42501", 'new row violates row-level security policy for table "objects"'))
    'new row violates row-level security policy'
    """
    return (
        error.message.partition(" for table ")[0] if "row-level security" in error.message else error.message
    )


def render_error(error: StorageError) -> Response:
    """The JSON API's shape."""
    body = {
        "statusCode": str(error.status),
        "error": error.label,
        "message": error.message,
        "code": error.code,
    }
    return json_response(body, error.http_status, error.headers)
