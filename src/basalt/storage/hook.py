"""The project's own say before an upload becomes visible: a virus scanner, or any rule that SQL cannot know.

`POST` to the hook's address, signed by Standard Webhooks: `{"type": "storage.upload", "upload": {bucket_id, name,
version, owner_id, metadata, url}}`. For as long as the hook may take, `url` hands out the bytes to whoever has it. An
answer of 2xx lets the upload in; any other one refuses it, with the hook's words when it is JSON with `error.message`
or `message`.
"""

import time
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import orjson
from standardwebhooks import Webhook

from basalt import observe
from basalt.config import HttpHook
from basalt.http import OutgoingAnswer, OutgoingClient, OutgoingError
from basalt.storage.database import Scope
from basalt.storage.errors import StorageError
from basalt.storage.signing import Signer

MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_WORDS: Final = 500


class UploadHook:
    """`target` is None where there is no hook. `url` is where Storage itself is, without a slash at its end."""

    def __init__(
        self, target: HttpHook | None, http: OutgoingClient, signer: Signer, *, url: str, timeout_s: float
    ) -> None:
        self._target = target
        self._http = http
        self._signer = signer
        self._url = url
        self._timeout_s = timeout_s

    async def check(
        self, bucket_id: str, name: str, version: str, metadata: dict[str, Any], scope: Scope
    ) -> None:
        """Raises StorageError UploadRefused, also when the hook cannot be asked: nobody knows what it would say."""
        if self._target is None:
            return
        token = self._signer.sign(
            {"version": version, "size": metadata["size"], "scope": "scan"}, life_s=self._timeout_s + 2
        )
        upload = {
            "bucket_id": bucket_id,
            "name": name,
            "version": version,
            "owner_id": scope.owner_id,
            "metadata": metadata,
            "url": f"{self._url}/object/pending/{version}?token={token}",
        }
        body = orjson.dumps({"type": "storage.upload", "upload": upload})
        started = time.monotonic()
        try:
            answer = await self._http.send(
                "POST",
                self._target.url,
                timeout_s=self._timeout_s,
                headers=_headers(self._target, body),
                content=body,
                max_bytes=MAX_ANSWER_BYTES,
            )
        except OutgoingError as error:
            observe.event("upload_hook_failed", level="warning", reason=error.reason, error=error)
            raise StorageError(
                "UploadRefused",
                "The upload hook did not answer",
                http_status=503 if error.reason == "timeout" else 502,
            ) from error
        seconds = round(time.monotonic() - started, 3)
        observe.event("upload_hook_answered", level="debug", status=answer.status, seconds=seconds)
        if not 200 <= answer.status < 300:
            raise StorageError("UploadRefused", _words(answer))


def _headers(hook: HttpHook, body: bytes) -> dict[str, str]:
    message_id, now = str(uuid4()), datetime.now(UTC)
    signatures = [Webhook(secret).sign(message_id, now, body.decode()) for secret in hook.secrets]
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _words(answer: OutgoingAnswer) -> str | None:
    """What the hook says to the caller; None for the catalogue's own words."""
    try:
        said = answer.json()
    except ValueError:
        return None
    if isinstance(said, dict) and isinstance(said.get("error"), dict):
        said = said["error"]
    message = said.get("message") if isinstance(said, dict) else None
    return message[:MAX_WORDS] if isinstance(message, str) and message else None
