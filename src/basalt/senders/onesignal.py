"""OneSignal's REST API (https://documentation.onesignal.com/reference/push-notification).

Messages of the same content go in one request to many subscriptions. It carries an idempotency key made from their
keys, so that a request without an answer is simply made again, and OneSignal sends it once.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from basalt.config import OneSignalSettings
from basalt.http import OutgoingAnswer, OutgoingClient
from basalt.senders.delivery import Delivery, Outcome
from basalt.senders.pacing import Pace
from basalt.senders.provider_answer import FAULTY, read_failure, read_object
from basalt.senders.provider_client import ProviderClient
from basalt.senders.push_message import TAG_BYTES, key_as_uuid, ttl_seconds

API: Final = "https://api.onesignal.com"
BATCH: Final = 1000  # of the 20,000 that a request may have
ALIAS: Final = "external_id:"

_Target = tuple[bytes, bool]  # content, and whether the addresses are aliases


class OneSignalSender:
    """An address is a subscription's id, or `external_id:` with the id that the app gave its user."""

    name: Final = "onesignal"
    batch_size: Final = BATCH

    def __init__(self, settings: OneSignalSettings, http: OutgoingClient) -> None:
        self._url = f"{settings.api_url or API}/notifications?c=push"
        self._app_id = settings.app_id
        self._headers = {"authorization": f"Key {settings.api_key}"}
        self._http = http
        self._client = ProviderClient(self.name, http, Pace(rate_per_s=settings.rate_per_s))

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        groups: dict[_Target, list[int]] = {}
        for place, delivery in enumerate(deliveries):
            content = orjson.dumps(render_content(delivery), option=orjson.OPT_SORT_KEYS)
            groups.setdefault((content, delivery.address.startswith(ALIAS)), []).append(place)
        results = await asyncio.gather(
            *(
                self._send(orjson.loads(content), [deliveries[place] for place in places], is_alias=is_alias)
                for (content, is_alias), places in groups.items()
            )
        )
        outcomes = {
            place: outcome
            for places, some in zip(groups.values(), results, strict=True)
            for place, outcome in zip(places, some, strict=True)
        }
        return [outcomes[place] for place in range(len(deliveries))]

    async def close(self) -> None:
        await self._http.close()

    async def _send(
        self, content: Mapping[str, Any], group: Sequence[Delivery], *, is_alias: bool
    ) -> Sequence[Outcome]:
        addresses = [delivery.address.removeprefix(ALIAS) for delivery in group]
        body = {
            **content,
            "app_id": self._app_id,
            "target_channel": "push",
            "idempotency_key": _idempotency_key(group),
            **(
                {"include_aliases": {"external_id": addresses}}
                if is_alias
                else {"include_subscription_ids": addresses}
            ),
        }
        answer = await self._client.ask_surely(self._url, headers=self._headers, json=body)
        return [answer] * len(group) if isinstance(answer, Outcome) else read_answer(answer, addresses)


def render_content(delivery: Delivery) -> dict[str, Any]:
    """What a message says, without to whom. OneSignal asks for English; it is shown where there is no other."""
    content: dict[str, Any] = {
        "contents": {"en": delivery.body},
        "priority": 10 if delivery.is_urgent else 5,
    }
    if delivery.subject:
        content["headings"] = {"en": delivery.subject}
    if delivery.data:
        content["data"] = dict(delivery.data)
    if delivery.ttl_s is not None:
        content["ttl"] = ttl_seconds(delivery.ttl_s)
    if delivery.collapse_key:
        content["collapse_id"] = delivery.collapse_key.encode()[:TAG_BYTES].decode("utf-8", "ignore")
    if delivery.badge is not None:
        content |= {"ios_badgeType": "SetTo", "ios_badgeCount": delivery.badge}
    return content


def read_answer(answer: OutgoingAnswer, addresses: Sequence[str]) -> Sequence[Outcome]:
    """What became of the messages to these addresses."""
    body = read_object(answer)
    invalid = _invalid_addresses(body.get("errors"))
    dead, rest = Outcome("dead_address", error_code="invalid_subscription"), _read_rest(answer, body)
    return [dead if address in invalid else rest for address in addresses]


def _read_rest(answer: OutgoingAnswer, body: Mapping[str, Any]) -> Outcome:
    """Of addresses that are not named. A success without an id has sent to nobody, and says why in words."""
    message_id, errors = body.get("id"), body.get("errors")
    if answer.status == 200 and isinstance(message_id, str) and message_id:
        return Outcome("accepted", message_id=message_id)
    words = [str(error)[:200] for error in errors[:5]] if isinstance(errors, list) else []
    response = {"status": answer.status, "errors": words}
    if answer.status in (200, *FAULTY) and any("not subscribed" in word for word in words):
        return Outcome("dead_address", error_code="not_subscribed", response=response)
    if answer.status == 200 and isinstance(errors, list | dict) and errors:
        return Outcome("refused", error_code="http_200", response=response)
    return read_failure(answer, ", ".join(words))


def _invalid_addresses(errors: object) -> frozenset[str]:
    if not isinstance(errors, dict):
        return frozenset()
    aliases = errors.get("invalid_aliases")
    lists = [
        errors.get("invalid_player_ids"),
        errors.get("invalid_subscription_ids"),
        aliases.get("external_id") if isinstance(aliases, dict) else None,
    ]
    return frozenset(
        entry for found in lists if isinstance(found, list) for entry in found if isinstance(entry, str)
    )


def _idempotency_key(group: Sequence[Delivery]) -> str:
    """The same whenever the same deliveries are sent together."""
    return key_as_uuid("\n".join(sorted(delivery.key for delivery in group)), is_random=True)
