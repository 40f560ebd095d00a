"""The operations of the protocol as a table: by what each is told from the others, what policies know it as, who does
it. Of those that fit a request the first one counts, so that the most particular ones stand first."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal, NamedTuple

from basalt.http import Headers, Response
from basalt.storage.errors import StorageError
from basalt.storage.s3 import buckets, completion, deleting, listing, objects, parts, policy_form, uploads
from basalt.storage.s3.call import S3Call

Level = Literal["service", "bucket", "object"]


class Operation(NamedTuple):
    """`level` is what the path names. `query` are parameters that must be there, with the value where one is given;
    `header` likewise, its value only has to begin so. `takes` are further parameters that mean something here."""

    name: str
    method: str
    level: Level
    handler: Callable[[S3Call], Awaitable[Response]]
    query: Mapping[str, str | None] = {}
    header: tuple[str, str] | None = None
    takes: frozenset[str] = frozenset()


LIST: Final = frozenset({"prefix", "delimiter", "encoding-type", "max-keys"})
OVERRIDES: Final = frozenset(f"response-{name}" for name in objects.OVERRIDABLE)
ANY_VALUE: Final = None
COPY_SOURCE: Final = ("x-amz-copy-source", "")
FORM: Final = ("content-type", "multipart/form-data")
PART: Final[Mapping[str, str | None]] = {"partNumber": ANY_VALUE, "uploadId": ANY_VALUE}
UPLOAD: Final[Mapping[str, str | None]] = {"uploadId": ANY_VALUE}
UPLOADS: Final[Mapping[str, str | None]] = {"uploads": ANY_VALUE}

OPERATIONS: Final = (
    Operation(
        "storage.s3.bucket.list",
        "GET",
        "service",
        buckets.list_all,
        takes=frozenset({"max-buckets", "prefix", "bucket-region"}),
    ),
    Operation(
        "storage.s3.bucket.get_location", "GET", "bucket", buckets.get_location, {"location": ANY_VALUE}
    ),
    Operation(
        "storage.s3.bucket.get_versioning", "GET", "bucket", buckets.get_versioning, {"versioning": ANY_VALUE}
    ),
    Operation(
        "storage.s3.upload.list_multipart",
        "GET",
        "bucket",
        uploads.list_all,
        UPLOADS,
        takes=frozenset(
            {"prefix", "delimiter", "encoding-type", "max-uploads", "key-marker", "upload-id-marker"}
        ),
    ),
    Operation(
        "storage.s3.object.list",
        "GET",
        "bucket",
        listing.list_v2,
        {"list-type": "2"},
        takes=LIST | {"start-after", "continuation-token", "fetch-owner"},
    ),
    Operation("storage.s3.object.list", "GET", "bucket", listing.list_v1, takes=LIST | {"marker"}),
    Operation("storage.s3.bucket.create", "PUT", "bucket", buckets.create),
    Operation("storage.s3.bucket.head", "HEAD", "bucket", buckets.head),
    Operation("storage.s3.bucket.delete", "DELETE", "bucket", buckets.delete),
    Operation("storage.s3.object.delete_many", "POST", "bucket", deleting.delete_many, {"delete": ANY_VALUE}),
    Operation("storage.s3.upload", "POST", "bucket", policy_form.post, header=FORM),
    Operation("storage.s3.object.get_tagging", "GET", "object", objects.get_tagging, {"tagging": ANY_VALUE}),
    Operation(
        "storage.s3.upload.list_parts",
        "GET",
        "object",
        parts.list_all,
        UPLOAD,
        takes=frozenset({"max-parts", "part-number-marker", "encoding-type"}),
    ),
    Operation("storage.s3.object.get", "GET", "object", objects.get, takes=OVERRIDES),
    Operation("storage.s3.object.info", "HEAD", "object", objects.get, takes=OVERRIDES),
    Operation("storage.s3.upload.part_copy", "PUT", "object", parts.copy, PART, COPY_SOURCE),
    Operation("storage.s3.upload.part", "PUT", "object", parts.upload, PART),
    Operation("storage.s3.object.copy", "PUT", "object", objects.copy, header=COPY_SOURCE),
    Operation("storage.s3.upload", "PUT", "object", objects.put),
    Operation("storage.s3.upload.create_multipart", "POST", "object", uploads.create, UPLOADS),
    Operation("storage.s3.upload.complete_multipart", "POST", "object", completion.complete, UPLOAD),
    Operation("storage.s3.upload.abort_multipart", "DELETE", "object", uploads.abort, UPLOAD),
    Operation("storage.s3.object.delete", "DELETE", "object", deleting.delete),
)

# A parameter that names a part of an object or bucket must not be passed over: `PUT ?acl` would write the object.
# Those that Amazon adds later come without a value too.
SUBRESOURCES: Final = re.compile(
    "abac|accelerate|acl|analytics|annotation|append|attributes|cors|delete|encryption|intelligent-tiering|inventory|"
    "legal-hold|lifecycle|list-type|location|logging|metadataConfiguration|metadataTable|metrics|notification|"
    "object-lock|ownershipControls|partNumber|policy|policyStatus|publicAccessBlock|renameObject|replication|"
    "requestPayment|restore|retention|select|select-type|session|tagging|torrent|uploadId|uploads|versionId|"
    "versioning|versions|website"
)
SIGNING: Final = "x-amz-"


def find_operation(method: str, level: Level, query: Mapping[str, str], headers: Headers) -> Operation:
    """Raises StorageError NotImplemented, MethodNotAllowed."""
    for operation in OPERATIONS:
        if (operation.method, operation.level) == (method, level) and _fits(operation, query, headers):
            _check_rest(operation, query)
            return operation
    if any(operation.level == level and operation.method == method for operation in OPERATIONS):
        raise StorageError("NotImplemented")
    raise StorageError("MethodNotAllowed")


def _fits(operation: Operation, query: Mapping[str, str], headers: Headers) -> bool:
    if any(
        name not in query or (wanted is not None and query[name] != wanted)
        for name, wanted in operation.query.items()
    ):
        return False
    if operation.header is None:
        return True
    name, start = operation.header
    value = headers.get(name)
    return value is not None and value.lower().startswith(start)


def _check_rest(operation: Operation, query: Mapping[str, str]) -> None:
    for name, value in query.items():
        is_known = name in operation.query or name in operation.takes or name.lower().startswith(SIGNING)
        if not is_known and (SUBRESOURCES.fullmatch(name) or not value):
            raise StorageError("NotImplemented", f"{name} is not supported here")
