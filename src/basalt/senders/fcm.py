"""Firebase Cloud Messaging by its HTTP v1 API, one request a device over a few HTTP/2 connections
(https://firebase.google.com/docs/cloud-messaging/send/v1-api; errors: …/cloud-messaging/error-codes).

FCM knows no idempotency keys. A message is given a tag instead, the same for every attempt: should it come twice, the
second one takes the place of the first on the device.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import orjson

from basalt.config import FcmSettings
from basalt.http import OutgoingClient
from basalt.senders.delivery import Delivery, Outcome
from basalt.senders.google_token import GoogleTokens, NoTokenError, parse_service_account
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
from basalt.senders.push_message import collapse_tag, ttl_seconds

API: Final = "https://fcm.googleapis.com"
SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
TIMEOUT_S: Final = 15.0
QUOTA_PAUSE_S: Final = 60.0  # what Google asks for where a 429 says nothing
LONGEST_TTL_S: Final = 28 * 86400


class FcmSender:
    """`http` asks for access tokens, and is closed with the sender."""

    name: Final = "fcm"
    batch_size: Final = 500

    def __init__(self, settings: FcmSettings, http: OutgoingClient) -> None:
        """Raises ValueError for a service account key that is none."""
        account = parse_service_account(settings.service_account)
        api = settings.api_url or API
        self._http = http
        self._tokens = GoogleTokens(account, http, scope=SCOPE)
        path = f"/v1/projects/{quote(account.project_id, safe='')}/messages:send"
        self._pseudo = (*pseudo_headers(api), (b":path", path.encode()))
        self._streams = ProviderStreams(
            self.name,
            Http2Client(api, connections=settings.connections, streams=settings.streams, timeout_s=TIMEOUT_S),
            Pace(rate_per_s=settings.rate_per_s, pause_s=QUOTA_PAUSE_S),
            read_answer,
            in_flight=settings.connections * settings.streams,
        )

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        outcomes = [_NO_TOKEN] * len(deliveries)
        places: Sequence[int] = range(len(deliveries))
        for _ in range(2):  # an access token may have expired earlier than Google said
            try:
                token = await self._tokens.current()
            except NoTokenError:
                break
            sent = await self._send([deliveries[place] for place in places], token)
            for place, outcome in zip(places, sent, strict=True):
                outcomes[place] = outcome
            places = [place for place in places if outcomes[place] is _TOKEN_REFUSED]
            if not places:
                break
            self._tokens.forget(token)
        return outcomes

    async def close(self) -> None:
        await self._streams.close()
        await self._http.close()

    async def _send(self, deliveries: Sequence[Delivery], token: str) -> list[Outcome]:
        headers = (
            (b"authorization", f"Bearer {token}".encode()),
            (b"content-type", b"application/json"),
        )
        requests = [
            Http2Request(self._pseudo, headers, render_message(delivery), varying=request_id_header(delivery))
            for delivery in deliveries
        ]
        return [
            result if isinstance(result, Outcome) else read_outcome(result)
            for result in await self._streams.exchange(requests)
        ]


def render_message(delivery: Delivery) -> bytes:
    """The body of `messages:send`. Values of `data` are strings there."""
    tag = collapse_tag(delivery)
    android: dict[str, Any] = {
        "priority": "HIGH" if delivery.is_urgent else "NORMAL",
        "notification": {"tag": tag},
    }
    apns = {
        "apns-priority": "10" if delivery.is_urgent else "5",
        "apns-collapse-id": tag,
    }
    webpush = {"Urgency": "high" if delivery.is_urgent else "normal"}
    message: dict[str, Any] = {
        "token": delivery.address,
        "notification": {"title": delivery.subject, "body": delivery.body},
        "android": android,
        "apns": {"headers": apns},
        "webpush": {"headers": webpush, "notification": {"tag": tag}},
    }
    if delivery.data:
        message["data"] = {name: _text(value) for name, value in delivery.data.items()}
    if delivery.ttl_s is not None:
        ttl_s = min(ttl_seconds(delivery.ttl_s), LONGEST_TTL_S)
        android["ttl"] = f"{ttl_s}s"
        webpush["TTL"] = str(ttl_s)
        apns["apns-expiration"] = str(int(time.time()) + ttl_s if ttl_s else 0)
    if delivery.collapse_key:
        android["collapse_key"] = delivery.collapse_key
    if delivery.badge is not None:
        message["apns"]["payload"] = {"aps": {"badge": delivery.badge}}
        android["notification"]["notification_count"] = delivery.badge
    return orjson.dumps({"message": message})


def read_answer(answer: Answered) -> tuple[Reading, float | None]:
    """What an answer says about FCM as a whole. A device may have had its own share of messages; that is not the
    project's, and says nothing about others."""
    if answer.status == 200:
        return "served", None
    code, error = _error(answer)
    if not error:
        return read_strange_pace(answer)
    if answer.status in (400, 404):
        return "served", None
    if code == "THIRD_PARTY_AUTH_ERROR" or (code == "QUOTA_EXCEEDED" and _is_of_device(error)):
        return "served", None
    if answer.status == 429:
        return "throttled", retry_after_of(answer)
    if answer.status >= 500 or code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return "failed", retry_after_of(answer)
    return "served", None


def read_outcome(answer: Answered) -> Outcome:
    """What became of one message."""
    if answer.status == 200 and (name := _name(answer)):
        return Outcome("accepted", message_id=name)
    code, error = _error(answer)
    if answer.status < 300 or not error:
        return read_strange_answer(answer)
    if answer.status == 401 and code == "UNAUTHENTICATED":
        return _TOKEN_REFUSED
    response = {"status": answer.status, "message": str(error.get("message", ""))[:500]}
    retry_after_s = retry_after_of(answer)
    if code in ("UNREGISTERED", "SENDER_ID_MISMATCH") or (
        code == "INVALID_ARGUMENT" and _is_about_token(error)
    ):
        return Outcome("dead_address", error_code=code, response=response)
    if answer.status == 429 or answer.status >= 500 or answer.status in (401, 403):
        return Outcome("retry", error_code=code, response=response, retry_after_s=retry_after_s)
    return Outcome("refused", error_code=code, response=response)


_NO_TOKEN: Final = Outcome("retry", error_code="no_access_token")
_TOKEN_REFUSED: Final = Outcome("retry", error_code="UNAUTHENTICATED", response={"status": 401})


def _name(answer: Answered) -> str:
    """Of the message that was taken; empty where the answer names none."""
    try:
        name = orjson.loads(answer.body)["name"]
    except (ValueError, KeyError, TypeError):
        return ""
    return name if isinstance(name, str) else ""


def _error(answer: Answered) -> tuple[str, Mapping[str, Any]]:
    """The code in FCM's own details, else the status in words; and the whole error."""
    try:
        error = orjson.loads(answer.body)["error"]
        codes = [detail["errorCode"] for detail in _objects(error.get("details")) if "errorCode" in detail]
        return str(codes[0] if codes else error["status"]), error
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"http_{answer.status}", {}


def _objects(value: object) -> list[Mapping[str, Any]]:
    """The objects of a list in an answer; none where it is something else."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _is_about_token(error: Mapping[str, Any]) -> bool:
    """Whether the argument that is invalid is the device's token, not the message."""
    violations = [
        violation
        for detail in _objects(error.get("details"))
        for violation in _objects(detail.get("fieldViolations"))
    ]
    if violations:
        return all(violation.get("field") == "message.token" for violation in violations)
    return "registration token" in str(error.get("message", ""))


def _is_of_device(error: Mapping[str, Any]) -> bool:
    """Whether the quota is that of one device or topic (google.rpc.QuotaFailure)."""
    subjects = [
        f"{violation.get('subject', '')} {violation.get('description', '')}".lower()
        for detail in _objects(error.get("details"))
        for violation in _objects(detail.get("violations"))
    ]
    return any("device" in subject or "topic" in subject for subject in subjects)


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
