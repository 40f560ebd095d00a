"""A request to the resumable uploads and who makes it: by a bearer token, or by the token of a signed upload URL."""

from dataclasses import dataclass
from typing import Final

from basalt.access import Caller
from basalt.http import Request
from basalt.storage.api.signed import signed_scope
from basalt.storage.call import NOBODY
from basalt.storage.context import StorageContext
from basalt.storage.database import Scope
from basalt.storage.errors import StorageError
from basalt.storage.resumable.leases import Leases
from basalt.storage.resumable.metadata import describe
from basalt.storage.resumable.rows import ResumableUpload, find_upload
from basalt.storage.uploads import NewObject

BASE: Final = "/upload/resumable"
SIGNATURE: Final = "x-signature"


@dataclass(frozen=True, slots=True)
class Visit:
    """`caller` is None under `/sign`, where the token in `x-signature` speaks and nothing else."""

    ctx: StorageContext
    leases: Leases
    request: Request
    caller: Caller | None

    @property
    def is_signed(self) -> bool:
        return self.caller is None

    def path_of(self, upload_id: str) -> str:
        return f"{BASE}/sign/{upload_id}" if self.is_signed else f"{BASE}/{upload_id}"

    def identify(self, operation: str, bucket_id: str, name: str) -> tuple[Scope, bool]:
        """Who does this to the object, and whether an earlier one may be replaced. Raises StorageError InvalidJWT,
        InvalidSignature."""
        if self.caller is not None:
            upsert = self.request.headers.get("x-upsert") == "true"
            return Scope(self.caller, operation, self.request), upsert
        claims = self.ctx.signer.verify_url(self._signature(), "upload", bucket_id, name)
        return signed_scope(Scope(NOBODY, operation, self.request), claims), claims.get("upsert") is True

    async def find_own(self, operation: str, upload_id: str) -> tuple[ResumableUpload, Scope, NewObject]:
        """An upload that this visitor made, with what it is to become. Raises StorageError NoSuchUpload,
        UploadExpired, and what `identify` raises."""
        if self.is_signed:
            self._signature()
        upload = await find_upload(self.ctx.db, upload_id)
        scope, may_replace = self.identify(operation, upload.bucket_id, upload.name)
        if not upload.is_of(scope, is_signed=self.is_signed):
            raise StorageError("NoSuchUpload")
        if upload.is_expired:
            raise StorageError("UploadExpired")
        upsert = upload.is_upsert and (may_replace or not self.is_signed)
        return upload, scope, describe(upload.metadata).new_object(size=upload.length, upsert=upsert)

    def _signature(self) -> str:
        signature = self.request.headers.get(SIGNATURE)
        if not signature:
            raise StorageError("InvalidSignature", "Missing x-signature header")
        return signature
