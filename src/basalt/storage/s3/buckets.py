"""Operations on buckets."""

from typing import Final

from basalt.http import Response
from basalt.postgres import Query
from basalt.storage.buckets import NewBucket, create_bucket, delete_bucket, load_bucket
from basalt.storage.objects import ISO
from basalt.storage.s3.call import S3Call, check_bucket_exists
from basalt.storage.s3.xml import xml_response

LIST_BUCKETS: Final = f"""
select b.name, to_char(b.created_at at time zone 'utc', {ISO}) from storage.buckets as b order by b.name collate "C"
"""  # noqa: S608 - put together from constants


async def list_all(call: S3Call) -> Response:
    [found] = await call.ctx.db.run_or_refuse(call.scope, Query(LIST_BUCKETS), read_only=True)
    buckets = [
        ("Bucket", [("Name", (name or b"").decode()), ("CreationDate", (created_at or b"").decode())])
        for name, created_at in found.rows
    ]
    return xml_response("ListAllMyBucketsResult", [("Buckets", buckets)])


async def create(call: S3Call) -> Response:
    is_public = call.request.headers.get("x-amz-acl") == "public-read"
    await create_bucket(call.ctx, call.scope, NewBucket(call.bucket, call.bucket, public=is_public))
    return Response(200, [(b"location", f"/{call.bucket}".encode())])


async def head(call: S3Call) -> Response:
    await load_bucket(call.ctx, call.scope, call.bucket)
    return Response(200, [(b"x-amz-bucket-region", call.ctx.settings.s3_region.encode())])


async def delete(call: S3Call) -> Response:
    await delete_bucket(call.ctx, call.scope, call.bucket)
    return Response(204)


async def get_location(call: S3Call) -> Response:
    await check_bucket_exists(call)
    return xml_response("LocationConstraint", call.ctx.settings.s3_region)


async def get_versioning(call: S3Call) -> Response:
    await check_bucket_exists(call)
    return xml_response("VersioningConfiguration", [("Status", "Suspended"), ("MfaDelete", "Disabled")])
