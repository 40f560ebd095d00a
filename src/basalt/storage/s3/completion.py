"""A multipart upload becomes an object.

The bytes are put together under a version of their own; then one statement takes the upload's row away and writes the
object's. So of two who finish at once one wins, and nobody who aborts in between leaves half of anything.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final, NamedTuple

from lxml import etree

from basalt.http import Response
from basalt.postgres import Query
from basalt.storage.errors import StorageError
from basalt.storage.s3.call import S3Call
from basalt.storage.s3.parts import MAX_PART_NUMBER
from basalt.storage.s3.uploads import Upload, check_upload_id, find_upload
from basalt.storage.s3.xml import child_text, children, parse_xml, xml_response
from basalt.storage.stores import Content, ContentMissingError, Part, StoreFullError
from basalt.storage.uploads import commit_upload, permit_upload

LOAD_PARTS: Final = """
select p.part_number, p.size, p.etag from storage.s3_multipart_uploads_parts as p
where p.upload_id = $1
order by p.part_number
"""


class AskedPart(NamedTuple):
    """A part as the client names it; `etag` without quotes."""

    number: int
    etag: str


async def complete(call: S3Call) -> Response:
    asked = await _parse_parts(call)
    there = await _load_parts(call)
    upload = await find_upload(call)  # after its parts, so that one that was aborted is not one without parts
    parts = choose_parts(asked, there) if asked else there
    if not parts:
        raise StorageError("InvalidRequest", "There must be at least one part")
    new = replace(upload.new, size=sum(part.size for part in parts))
    permit = await permit_upload(call.ctx, call.scope, new)
    content = await _assemble(call, upload, parts, permit.version)
    stored = await commit_upload(call.ctx, call.scope, permit, content, upload_id=upload.id)
    await call.ctx.store.discard_upload(upload.id)
    return xml_response(
        "CompleteMultipartUploadResult",
        [
            ("Location", f"{call.bucket}/{call.key}"),
            ("Bucket", call.bucket),
            ("Key", call.key),
            ("ETag", stored.etag),
        ],
    )


async def _load_parts(call: S3Call) -> list[Part]:
    query = Query(LOAD_PARTS, (check_upload_id(call.query.get("uploadId") or "").encode(),))
    [result] = await call.ctx.db.run_or_refuse(None, query, read_only=True)
    return [_part(*row) for row in result.rows]


async def _assemble(call: S3Call, upload: Upload, parts: Sequence[Part], version: str) -> Content:
    try:
        return await call.ctx.store.assemble(upload.id, parts, version)
    except StoreFullError as error:
        raise StorageError("StoreFull") from error
    except ContentMissingError as error:
        await find_upload(call)  # somebody else may have finished or aborted it
        raise StorageError("InvalidPart") from error


async def _parse_parts(call: S3Call) -> list[AskedPart]:
    """An empty body names none. Raises StorageError MalformedXML, InvalidRequest, InvalidPartOrder."""
    body = await call.payload.read()
    if not body.strip():
        return []
    document = await parse_xml(body, "CompleteMultipartUpload")
    asked = [_parse_part(element) for element in children(document, "Part")]
    if any(later.number <= earlier.number for earlier, later in pairwise(asked)):
        raise StorageError("InvalidPartOrder")
    return asked


def _parse_part(element: etree._Element) -> AskedPart:
    number, etag = child_text(element, "PartNumber") or "", child_text(element, "ETag")
    if not re.fullmatch(r"\s*[0-9]{1,5}\s*", number) or not 1 <= int(number) <= MAX_PART_NUMBER:
        raise StorageError("InvalidRequest", f"PartNumber must be from 1 to {MAX_PART_NUMBER}")
    if etag is None:
        raise StorageError("InvalidRequest", f"Part {int(number)} must have an ETag")
    return AskedPart(int(number), etag.strip().strip('"'))


def choose_parts(asked: Sequence[AskedPart], there: Sequence[Part]) -> list[Part]:
    """The parts that were asked for. Raises StorageError InvalidPart, InvalidChecksum.

    >>> choose_parts([AskedPart(2, "ab")], [Part(1, 5, "cd"), Part(2, 7, "ab")])
    [Part(number=2, size=7, etag='ab')]
    """
    by_number = {part.number: part for part in there}
    for number, etag in asked:
        if number not in by_number:
            raise StorageError("InvalidPart", f"There is no part {number}")
        if by_number[number].etag != etag:
            raise StorageError("InvalidChecksum", f"Invalid ETag for part {number}")
    return [by_number[number] for number, _ in asked]


def _part(number: bytes | None, size: bytes | None, etag: bytes | None) -> Part:
    return Part(int(number or 0), int(size or 0), (etag or b"").decode().strip('"'))
