"""A request to the S3 protocol whose signature was verified: what its handler is given."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from basalt.access import Caller
from basalt.http import Request
from basalt.postgres import Query
from basalt.storage.context import StorageContext
from basalt.storage.database import Scope
from basalt.storage.errors import StorageError
from basalt.storage.s3.payload import Payload

if TYPE_CHECKING:
    from basalt.storage.s3.policy_form import PolicyForm

BUCKET_EXISTS = "select from storage.buckets where id = $1"


@dataclass(frozen=True, slots=True)
class S3Call:
    """`bucket` and `key` are checked names, empty where the request has none. `form` is there for uploads by a
    form."""

    ctx: StorageContext
    request: Request
    caller: Caller
    operation: str
    bucket: str
    key: str
    query: Mapping[str, str]
    payload: Payload
    form: "PolicyForm | None" = None

    @property
    def scope(self) -> Scope:
        return Scope(self.caller, self.operation, self.request)

    def number(self, name: str, default: int, *, low: int = 0, high: int = 1000) -> int:
        """A parameter of the query, cut off at `high`. Raises StorageError InvalidParameter."""
        text = self.query.get(name)
        if not text:
            return default
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < low:
            raise StorageError("InvalidParameter", f"{name} must be a number of at least {low}")
        return min(int(text), high)


async def check_bucket_exists(call: S3Call) -> None:
    """By the rights of the tables' owner: whoever may use objects need not see the bucket. Raises StorageError
    NoSuchBucket."""
    query = Query(BUCKET_EXISTS, (call.bucket.encode(),))
    [found] = await call.ctx.db.run_or_refuse(None, query, read_only=True)
    if not found.rows:
        raise StorageError("NoSuchBucket")
