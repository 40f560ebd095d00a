"""`context.storage`: buckets and objects over the project's own API, in the shape of Supabase's clients."""

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import orjson

from basalt.functions.errors import StorageError

if TYPE_CHECKING:
    import httpx2

Rows = list[dict[str, Any]]


class Storage:
    """Acts with the token or key in `headers`. `public_url` is what others reach the API by."""

    def __init__(
        self, http: "httpx2.AsyncClient", *, api_url: str, public_url: str, headers: Mapping[str, str]
    ) -> None:
        self._http = http
        self._url = f"{api_url}/storage/v1"
        self._public_url = f"{public_url}/storage/v1"
        self._headers = headers

    def from_(self, bucket: str) -> "Bucket":
        return Bucket(self, bucket)

    async def send(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Raises StorageError with Storage's own code and status, or STORAGE_UNREACHABLE (502)."""
        try:
            answer = await self._http.request(
                method, f"{self._url}{path}", content=body, headers={**self._headers, **(headers or {})}
            )
        except OSError as exc:
            raise _unreachable() from exc
        except Exception as exc:
            if type(exc).__module__.partition(".")[0] not in ("httpx2", "httpcore2"):
                raise
            raise _unreachable() from exc
        if answer.status_code >= 400:
            raise _refusal(answer.status_code, answer.content)
        return bytes(answer.content)

    async def send_json(self, method: str, path: str, value: object) -> Any:
        headers = {"content-type": "application/json"}
        return orjson.loads(await self.send(method, path, body=orjson.dumps(value), headers=headers))

    def locate(self, path: str) -> str:
        """The address of a path for others."""
        return f"{self._public_url}{path}"


class Bucket:
    """The objects of one bucket; paths are `folder/name.png`."""

    def __init__(self, storage: Storage, bucket: str) -> None:
        self._storage = storage
        self._bucket = bucket

    async def upload(
        self,
        path: str,
        body: bytes,
        *,
        content_type: str = "application/octet-stream",
        cache_control: str = "3600",
        upsert: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """`{"Id", "Key"}` of the new object. With `upsert` an object of this path is replaced."""
        headers = {
            "content-type": content_type,
            "cache-control": f"max-age={cache_control}",
            "x-upsert": "true" if upsert else "false",
        }
        if metadata is not None:
            headers["x-metadata"] = _base64(orjson.dumps(metadata))
        answer = await self._storage.send("POST", self._object(path), body=body, headers=headers)
        return _as_dict(answer)

    async def download(self, path: str) -> bytes:
        return await self._storage.send("GET", self._object(path))

    async def info(self, path: str) -> dict[str, Any]:
        return _as_dict(await self._storage.send("GET", f"/object/info/{self._key(path)}"))

    async def exists(self, path: str) -> bool:
        try:
            await self._storage.send("HEAD", self._object(path))
        except StorageError as error:
            if error.status in (400, 404):
                return False
            raise
        return True

    async def remove(self, paths: Sequence[str]) -> Rows:
        """The rows of the objects that are gone."""
        return _rows(
            await self._storage.send_json("DELETE", f"/object/{self._bucket_key}", {"prefixes": list(paths)})
        )

    async def list(
        self,
        prefix: str = "",
        *,
        limit: int = 100,
        offset: int = 0,
        search: str | None = None,
        sort_by: Mapping[str, str] | None = None,
    ) -> Rows:
        """The folders and objects right below `prefix`."""
        order = sort_by or {"column": "name", "order": "asc"}
        options: dict[str, Any] = {"prefix": prefix, "limit": limit, "offset": offset, "sortBy": order}
        if search is not None:
            options["search"] = search
        return _rows(await self._storage.send_json("POST", f"/object/list/{self._bucket_key}", options))

    async def move(self, source: str, target: str, *, bucket: str | None = None) -> dict[str, Any]:
        """To another path, and with `bucket` into another bucket."""
        return await self._transfer("move", source, target, bucket)

    async def copy(self, source: str, target: str, *, bucket: str | None = None) -> dict[str, Any]:
        return await self._transfer("copy", source, target, bucket)

    async def create_signed_url(self, path: str, expires_in_s: int, *, download: str | bool = False) -> str:
        """An address at which anybody can read the object until the time is over. `download` has browsers save it,
        under that name if it is one."""
        signed = await self._storage.send_json(
            "POST", f"/object/sign/{self._key(path)}", {"expiresIn": expires_in_s}
        )
        return self._storage.locate(signed["signedURL"]) + _download_query("&", download)

    async def create_signed_urls(self, paths: Sequence[str], expires_in_s: int) -> Rows:
        """For each path `{"path", "signedUrl", "error"}`; one of the last two is None."""
        options = {"expiresIn": expires_in_s, "paths": [*paths]}
        signed = await self._storage.send_json("POST", f"/object/sign/{self._bucket_key}", options)
        return [
            {
                "path": one["path"],
                "signedUrl": self._storage.locate(one["signedURL"]) if one.get("signedURL") else None,
                "error": one.get("error"),
            }
            for one in signed
        ]

    def get_public_url(self, path: str, *, download: str | bool = False) -> str:
        """The address of an object in a public bucket."""
        address = self._storage.locate(f"/object/public/{self._key(path)}")
        return address + _download_query("?", download)

    @property
    def _bucket_key(self) -> str:
        return quote(self._bucket, safe="")

    def _key(self, path: str) -> str:
        return f"{self._bucket_key}/{quote(path.strip('/'))}"

    def _object(self, path: str) -> str:
        return f"/object/{self._key(path)}"

    async def _transfer(self, verb: str, source: str, target: str, bucket: str | None) -> dict[str, Any]:
        options = {"bucketId": self._bucket, "sourceKey": source, "destinationKey": target}
        if bucket is not None:
            options["destinationBucket"] = bucket
        answer: dict[str, Any] = await self._storage.send_json("POST", f"/object/{verb}", options)
        return answer


def _download_query(separator: str, download: str | bool) -> str:
    if download is False:
        return ""
    return separator + urlencode({"download": "" if download is True else download})


def _rows(value: Any) -> Rows:
    return [*value]


def _as_dict(raw: bytes) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(raw)
    return value


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _refusal(status: int, raw: bytes) -> StorageError:
    """`statusCode` in the body is Storage's real one; HTTP's is 400 for most."""
    try:
        told = _as_dict(raw)
        real = int(told.get("statusCode") or status)
    except (ValueError, AttributeError, TypeError):
        return StorageError("STORAGE_ERROR", f"Storage answered {status}", status=status)
    code = str(told.get("code") or told.get("error") or "STORAGE_ERROR")
    return StorageError(code, str(told.get("message") or code), status=real if 400 <= real < 600 else status)


def _unreachable() -> StorageError:
    return StorageError("STORAGE_UNREACHABLE", "Storage did not answer", status=502)
