"""Signed URLs: made for downloads and uploads, and uploads by them."""

from typing import Any, Final
from urllib.parse import quote

import orjson

from basalt.http import Response, json_response
from basalt.postgres import Query
from basalt.storage.api.download import signed_token
from basalt.storage.api.upload import receive
from basalt.storage.api.validation import number, optional, read_json, strings
from basalt.storage.call import Call
from basalt.storage.database import Scope
from basalt.storage.errors import invalid_request
from basalt.storage.images import claims_of_transform
from basalt.storage.objects import find_object
from basalt.storage.signing import MAX_LIFE_S, UPLOAD_LIFE_S
from basalt.storage.uploads import NewObject, permit_upload

MISSING: Final = "Either the object does not exist or you do not have access to it"
FIND_NAMES: Final = """
select coalesce(json_agg(name), '[]') from storage.objects
where bucket_id = $1 and name in (select jsonb_array_elements_text($2::jsonb))
"""


async def sign(call: Call, bucket: str, path: str) -> Response:
    body = await read_json(call.request)
    life_s = _life_s(body)
    transform = optional(body, "transform", "object")
    is_image = bool(transform) and call.ctx.service.image_transformation.enabled
    image_claims = claims_of_transform(transform) if is_image else {}
    await find_object(call.ctx.db, call.scope("storage.object.sign"), bucket, path)
    claims: dict[str, Any] = {**image_claims, "url": f"{bucket}/{path}", "scope": "download"}
    place = "render/image" if "transformations" in image_claims else "object"
    token = call.ctx.signer.sign(claims, life_s=life_s)
    return json_response({"signedURL": f"/{place}/sign/{_url(bucket, path)}?token={token}"})


async def sign_many(call: Call, bucket: str) -> Response:
    body = await read_json(call.request)
    life_s = _life_s(body)
    paths = strings(body, "paths")
    query = Query(FIND_NAMES, (bucket.encode(), orjson.dumps(paths)))
    [result] = await call.ctx.db.run_or_refuse(call.scope("storage.object.sign_many"), query, read_only=True)
    found = frozenset(orjson.loads(result.rows[0][0] or b"[]"))
    return json_response([_signed(call, bucket, path, life_s, is_found=path in found) for path in paths])


async def sign_upload(call: Call, bucket: str, path: str) -> Response:
    upsert = call.request.headers.get("x-upsert") == "true"
    scope = call.scope("storage.object.sign_upload_url")
    await permit_upload(call.ctx, scope, NewObject(bucket, path, None, upsert=upsert))
    claims: dict[str, Any] = {"url": f"{bucket}/{path}", "upsert": upsert, "scope": "upload"}
    if scope.owner_id is not None:
        claims = {"owner": scope.owner_id, **claims}
    token = call.ctx.signer.sign(claims, life_s=UPLOAD_LIFE_S)
    return json_response({"url": f"/object/upload/sign/{_url(bucket, path)}?token={token}", "token": token})


async def upload_signed(call: Call, bucket: str, path: str) -> Response:
    claims = call.ctx.signer.verify_url(signed_token(call), "upload", bucket, path)
    scope = signed_scope(call.scope("storage.object.upload_signed"), claims)
    await receive(call, scope, bucket, path, upsert=claims.get("upsert") is True)
    return json_response({"Key": f"{bucket}/{path}"})


def signed_scope(scope: Scope, claims: dict[str, Any]) -> Scope:
    """Who uploads by a token: the tables' owner, for whom the token was made."""
    owner = claims.get("owner")
    return scope.as_owner(owner if isinstance(owner, str) else None)


def _signed(call: Call, bucket: str, path: str, life_s: int, *, is_found: bool) -> dict[str, str | None]:
    if not is_found:
        return {"error": MISSING, "path": path, "signedURL": None}
    token = call.ctx.signer.sign({"url": f"{bucket}/{path}", "scope": "download"}, life_s=life_s)
    return {"error": None, "path": path, "signedURL": f"/object/sign/{_url(bucket, path)}?token={token}"}


def _life_s(body: dict[str, Any]) -> int:
    """supabase-py sends the seconds as text."""
    if body.get("expiresIn") is None:
        raise invalid_request("body must have required property 'expiresIn'")
    return number(body, "expiresIn", 0, low=1, high=MAX_LIFE_S)


def _url(bucket: str, path: str) -> str:
    return quote(f"{bucket}/{path}", safe="/!*'()&$@=;:+,-._~")
