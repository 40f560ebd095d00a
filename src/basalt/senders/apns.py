"""Apple's push notification service with a provider token, one request a device over HTTP/2
(https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns).

`apns-id` is the delivery's key. APNs does not look whether it has seen it before; the collapse id does that on the
device, where a message that comes twice takes its own place.
"""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import jwt
import orjson

from basalt.config import ApnsSettings
from basalt.senders.delivery import Delivery, Outcome
from basalt.senders.http2_client import Http2Client
from basalt.senders.http2_protocol import Answered, Http2Request
from basalt.senders.pacing import Pace, Reading
from basalt.senders.provider_streams import (
    ProviderStreams,
    pseudo_headers,
    read_strange_answer,
    read_strange_pace,
    request_id_header,
    retry_after_of,
)
from basalt.senders.push_message import collapse_tag, key_as_uuid, ttl_seconds

API: Final = "https://api.push.apple.com"
SANDBOX_API: Final = "https://api.sandbox.push.apple.com"
TIMEOUT_S: Final = 15.0
TOKEN_LASTS_S: Final = 40 * 60.0  # Apple takes tokens of up to an hour, and wants none renewed
TOKEN_RESTS_S: Final = 20 * 60.0  # within 20 minutes
DEVICE_TOKEN: Final = re.compile(r"(?:[0-9a-fA-F]{2}){8,200}")

DEAD: Final = frozenset({"BadDeviceToken", "DeviceTokenNotForTopic", "ExpiredToken", "Unregistered"})
# What is wrong with the project's own credentials or topic: every message fails until the operator has mended it.
OF_PROJECT: Final = frozenset(
    {
        "BadCertificate",
        "BadCertificateEnvironment",
        "BadEnvironmentKeyIdInToken",
        "BadTopic",
        "ExpiredProviderToken",
        "Forbidden",
        "InvalidProviderToken",
        "MissingProviderToken",
        "MissingTopic",
        "TopicDisallowed",
        "UnrelatedKeyIdInToken",
    }
)
PASSING: Final = frozenset({"IdleTimeout", "TooManyRequests", "TooManyProviderTokenUpdates"})


class ApnsSender:
    name: Final = "apns"
    batch_size: Final = 500

    def __init__(self, settings: ApnsSettings, *, is_sandbox: bool) -> None:
        """Raises ValueError for a key that is none."""
        api = settings.api_url or (SANDBOX_API if is_sandbox else API)
        self._tokens = ProviderTokens(settings.key, key_id=settings.key_id, team_id=settings.team_id)
        self._topic = settings.topic.encode()
        self._pseudo = pseudo_headers(api)
        self._streams = ProviderStreams(
            self.name,
            Http2Client(api, connections=settings.connections, streams=settings.streams, timeout_s=TIMEOUT_S),
            Pace(rate_per_s=settings.rate_per_s),
            read_answer,
            in_flight=settings.connections * settings.streams,
        )

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        outcomes = [_check_token(delivery.address) for delivery in deliveries]
        places = [place for place, outcome in enumerate(outcomes) if outcome is _NOT_YET]
        token = self._tokens.current(time.time())
        await self._send(deliveries, places, token, outcomes)
        expired = [place for place in places if outcomes[place].error_code == "ExpiredProviderToken"]
        if expired and (renewed := self._tokens.renew(token, time.time())) != token:
            await self._send(deliveries, expired, renewed, outcomes)
        return outcomes

    async def close(self) -> None:
        await self._streams.close()

    async def _send(
        self, deliveries: Sequence[Delivery], places: Sequence[int], token: str, outcomes: list[Outcome]
    ) -> None:
        requests = [self._request(deliveries[place], token) for place in places]
        for place, result in zip(places, await self._streams.exchange(requests), strict=True):
            outcomes[place] = result if isinstance(result, Outcome) else read_outcome(result)

    def _request(self, delivery: Delivery, token: str) -> Http2Request:
        """Apple asks that what differs from message to message is not put into the header tables."""
        headers = (
            (b"authorization", f"bearer {token}".encode()),
            (b"apns-topic", self._topic),
            (b"apns-push-type", b"alert"),
            (b"apns-priority", b"10" if delivery.is_urgent else b"5"),
        )
        varying = [
            (b"apns-id", key_as_uuid(delivery.key).encode()),
            (b"apns-collapse-id", collapse_tag(delivery).encode()),
            *request_id_header(delivery),
        ]
        if delivery.ttl_s is not None:
            ttl_s = ttl_seconds(delivery.ttl_s)
            until = int(time.time()) + ttl_s if ttl_s else 0  # 0 is "now or never"
            varying.append((b"apns-expiration", str(until).encode()))
        return Http2Request(
            self._pseudo,
            headers,
            render_payload(delivery),
            path=f"/3/device/{delivery.address.lower()}".encode(),
            varying=tuple(varying),
        )


class ProviderTokens:
    """ES256 tokens, each used for most of an hour: Apple refuses older ones, and those that change too often."""

    def __init__(self, key: str, *, key_id: str, team_id: str) -> None:
        self._key = key
        self._key_id = key_id
        self._team_id = team_id
        self._token = ""
        self._made_at = float("-inf")
        try:
            self._make(time.time())
        except (ValueError, TypeError, jwt.PyJWTError) as exc:
            raise ValueError("this is no token signing key of Apple's") from exc

    def current(self, now: float) -> str:
        if not 0 <= now - self._made_at < TOKEN_LASTS_S:
            self._make(now)
        return self._token

    def renew(self, refused: str, now: float) -> str:
        """Another than the one that was refused, unless that is too young for it."""
        if refused == self._token and now - self._made_at >= TOKEN_RESTS_S:
            self._make(now)
        return self._token

    def _make(self, now: float) -> None:
        claims = {"iss": self._team_id, "iat": int(now)}
        self._token = jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self._key_id})
        self._made_at = now


def render_payload(delivery: Delivery) -> bytes:
    """What the app is given: `aps` as Apple defines it, the data beside it."""
    aps: dict[str, Any] = {
        "alert": {"title": delivery.subject, "body": delivery.body},
        "sound": "default",
    }
    if delivery.badge is not None:
        aps["badge"] = delivery.badge
    return orjson.dumps({**delivery.data, "aps": aps})


def read_answer(answer: Answered) -> tuple[Reading, float | None]:
    """What an answer says about APNs as a whole. `TooManyRequests` is about one device."""
    if answer.status == 200:
        return "served", None
    reason = _reason(answer)
    if not reason:
        return read_strange_pace(answer)
    if reason == "TooManyProviderTokenUpdates":
        return "throttled", retry_after_of(answer)
    if answer.status >= 500 or reason in OF_PROJECT:
        return "failed", retry_after_of(answer)
    return "served", None


def read_outcome(answer: Answered) -> Outcome:
    """What became of one message."""
    if answer.status == 200 and not answer.body:
        return Outcome("accepted", message_id=answer.headers.get(b"apns-id", b"").decode("latin-1"))
    reason = _reason(answer)
    if not reason:
        return read_strange_answer(answer)
    response: Mapping[str, Any] = {"status": answer.status}
    if reason in DEAD:
        return Outcome("dead_address", error_code=reason, response=response)
    if answer.status >= 500 or answer.status == 429 or reason in OF_PROJECT or reason in PASSING:
        retry_after_s = retry_after_of(answer)
        return Outcome("retry", error_code=reason, response=response, retry_after_s=retry_after_s)
    return Outcome("refused", error_code=reason, response=response)


def _reason(answer: Answered) -> str:
    """Why Apple has not taken a message; empty where it does not say."""
    try:
        reason = orjson.loads(answer.body)["reason"]
    except (ValueError, KeyError, TypeError):
        return ""
    return reason if isinstance(reason, str) else ""


_NOT_YET: Final = Outcome("unknown")
_NO_TOKEN: Final = Outcome("dead_address", error_code="BadDeviceToken")


def _check_token(address: str) -> Outcome:
    """It becomes a part of the path: anything but a token in hexadecimal digits is none."""
    return _NOT_YET if DEVICE_TOKEN.fullmatch(address) else _NO_TOKEN
