"""Web Push: a message encrypted for one browser (RFC 8291), posted to the push service that the browser named
(RFC 8030) with our VAPID signature (RFC 8292).

The address is the subscription as JSON. It comes from users, so the request goes through the guarded client, and each
push service is paced on its own.
"""

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import http_ece
import jwt
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from basalt.bounded_dict import BoundedDict
from basalt.config import WebPushSettings
from basalt.http import OutgoingAnswer, OutgoingClient
from basalt.senders.delivery import Delivery, Outcome, deliver_each
from basalt.senders.pacing import Pace, read_status
from basalt.senders.provider_answer import read_patience
from basalt.senders.provider_client import ProviderClient
from basalt.senders.push_message import collapse_tag, key_as_uuid, read_object, ttl_seconds

CONCURRENCY: Final = 32
ORIGINS: Final = 256
ANSWER_BYTES: Final = 16 * 1024  # users name the push services, and a worker may ask hundreds at once
KEY_BYTES: Final = 32
TTL_S: Final = 28 * 86400  # of messages that do not expire; push services keep them no longer
PAYLOAD_BYTES: Final = 3993  # RFC 8291 §4: 4096 less header, padding and tag
VAPID_LASTS_S: Final = 12 * 3600.0  # RFC 8292 §2 allows a day
VAPID_RENEW_S: Final = 3600.0


@dataclass(frozen=True)
class Subscription:
    endpoint: str
    origin: str
    p256dh: bytes
    auth: bytes


class WebPushSender:
    name: Final = "webpush"
    batch_size: Final = 100

    def __init__(self, settings: WebPushSettings) -> None:
        """Raises ValueError for a key that is none."""
        self._key = load_vapid_key(settings.private_key)
        self._public = _encode(
            self._key.public_key().public_bytes(
                serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
            )
        )
        self._subject = settings.subject
        self._rate_per_s = settings.rate_per_s
        self._allow_private = settings.allow_private
        self._http = OutgoingClient(is_guarded=True, allow_private=settings.allow_private)
        self._clients: BoundedDict[str, ProviderClient] = BoundedDict(ORIGINS)
        self._signed: BoundedDict[str, tuple[float, str]] = BoundedDict(ORIGINS)

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        return await deliver_each(self._deliver, deliveries)

    async def close(self) -> None:
        await self._http.close()

    async def _deliver(self, delivery: Delivery) -> Outcome:
        try:
            subscription = parse_subscription(delivery.address, allow_http=self._allow_private)
        except ValueError:
            return Outcome("dead_address", error_code="invalid_subscription")
        payload = render_payload(delivery)
        if len(payload) > PAYLOAD_BYTES:
            return Outcome("refused", error_code="payload_too_large")
        headers = {
            "authorization": self._authorization(subscription.origin),
            "content-encoding": "aes128gcm",
            "content-type": "application/octet-stream",
            "ttl": str(TTL_S if delivery.ttl_s is None else min(ttl_seconds(delivery.ttl_s), TTL_S)),
            "urgency": "high" if delivery.is_urgent else "normal",
            "topic": _topic(delivery),
        }
        try:
            content = encrypt(payload, subscription)
        except ValueError:
            return Outcome("dead_address", error_code="invalid_subscription")
        answer = await self._client_of(subscription.origin).ask(
            subscription.endpoint, headers=headers, content=content
        )
        return answer if isinstance(answer, Outcome) else read_answer(answer)

    def _client_of(self, origin: str) -> ProviderClient:
        client = self._clients.get(origin)
        if client is None:
            client = self._clients[origin] = ProviderClient(
                self.name,
                self._http,
                Pace(rate_per_s=self._rate_per_s),
                concurrency=CONCURRENCY,
                answer_bytes=ANSWER_BYTES,
                read=read_status,  # a 404 is about the subscription
            )
        return client

    def _authorization(self, origin: str) -> str:
        now = time.time()
        until, token = self._signed.get(origin, (0.0, ""))
        if not VAPID_RENEW_S <= until - now <= VAPID_LASTS_S:  # beyond it after the clock was set back
            until = now + VAPID_LASTS_S
            claims = {"aud": origin, "exp": int(until), "sub": self._subject}
            token = jwt.encode(claims, self._key, algorithm="ES256")
            self._signed[origin] = until, token
        return f"vapid t={token}, k={self._public}"


def load_vapid_key(text: str) -> ec.EllipticCurvePrivateKey:
    """The private key: 32 bytes in Base64 for URLs, as `web-push generate-vapid-keys` prints them, or PEM. Raises
    ValueError, without the key in it."""
    try:
        if text.lstrip().startswith("-----BEGIN"):
            key = serialization.load_pem_private_key(text.encode(), password=None)
        else:
            scalar = _decode(text.strip())
            if len(scalar) != KEY_BYTES:
                raise ValueError("not 32 bytes")
            key = ec.derive_private_key(int.from_bytes(scalar), ec.SECP256R1())
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise ValueError("this is no VAPID key") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("this is no VAPID key: it is not of the curve P-256")
    return key


def parse_subscription(text: str, *, allow_http: bool) -> Subscription:
    """`PushSubscription.toJSON()` of a browser. Raises ValueError."""
    found = read_object(text.encode("utf-8", "replace"))
    endpoint, keys = found.get("endpoint"), found.get("keys")
    if not isinstance(endpoint, str) or not isinstance(keys, dict) or not endpoint.isascii():
        raise ValueError("no subscription")
    parts = urlsplit(endpoint)
    if parts.scheme != "https" and not (allow_http and parts.scheme == "http"):
        raise ValueError("not over TLS")
    if not parts.hostname or "@" in parts.netloc or not endpoint.isprintable():
        raise ValueError("no address of a push service")
    p256dh, auth = (_decode(keys.get(name)) for name in ("p256dh", "auth"))
    if len(p256dh) != 65 or p256dh[0] != 4 or len(auth) != 16:
        raise ValueError("no keys of a subscription")
    return Subscription(endpoint, f"{parts.scheme}://{parts.netloc}", p256dh, auth)


def encrypt(payload: bytes, subscription: Subscription) -> bytes:
    """RFC 8291 §3, with a key of its own for each message. Raises ValueError for a point that is not on the curve."""
    try:
        content: bytes = http_ece.encrypt(
            payload,
            private_key=ec.generate_private_key(ec.SECP256R1()),
            dh=subscription.p256dh,
            auth_secret=subscription.auth,
            version="aes128gcm",
        )
    except http_ece.ECEException as exc:
        raise ValueError("the keys cannot be used") from exc
    return content


def render_payload(delivery: Delivery) -> bytes:
    """What the app's service worker is given by `event.data.json()`."""
    message: dict[str, object] = {
        "title": delivery.subject,
        "body": delivery.body,
        "tag": collapse_tag(delivery),
        "data": dict(delivery.data),
    }
    if delivery.badge is not None:
        message["badge"] = delivery.badge
    return orjson.dumps(message)


def read_answer(answer: OutgoingAnswer) -> Outcome:
    """What became of the message."""
    if answer.status in (200, 201, 202):
        return Outcome("accepted", message_id=answer.headers.get("location", ""))
    code, response = f"http_{answer.status}", {"status": answer.status}
    if answer.status in (404, 410):
        return Outcome("dead_address", error_code=code, response=response)
    if answer.status in (401, 429) or answer.status >= 500:
        retry_after_s = read_patience(answer.headers.get("retry-after"))
        return Outcome("retry", error_code=code, response=response, retry_after_s=retry_after_s)
    return Outcome("refused", error_code=code, response=response)


def _topic(delivery: Delivery) -> str:
    """32 characters (RFC 8030 §5.4), by which a message that still waits at the push service is replaced."""
    return key_as_uuid(collapse_tag(delivery)).replace("-", "")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: object) -> bytes:
    if not isinstance(text, str):
        raise ValueError("no text")
    return base64.b64decode(
        text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True
    )
