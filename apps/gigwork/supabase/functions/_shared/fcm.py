"""Firebase Cloud Messaging, HTTP v1: one message to one device.

A service account's key signs a short assertion, which Google changes into an access token for an hour
(https://firebase.google.com/docs/cloud-messaging/send/v1-api).
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx2
import jwt

from basalt.functions import RetryJob

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
API_URL = "https://fcm.googleapis.com"
TIMEOUT_S = 10
RENEW_BEFORE_S = 60
DEAD_TOKEN = frozenset({"UNREGISTERED", "SENDER_ID_MISMATCH"})

_http = httpx2.AsyncClient(timeout=TIMEOUT_S)


class DeadDeviceError(Exception):
    """The token belongs to no installed app any more."""


@dataclass(frozen=True)
class _AccessToken:
    text: str
    expires_at: float


_token: _AccessToken | None = None


def is_configured(env: Mapping[str, str]) -> bool:
    return bool(env.get("FCM_SERVICE_ACCOUNT"))


async def send_push(
    env: Mapping[str, str], device_token: str, *, title: str, body: str, data: Mapping[str, str]
) -> str:
    """The name that FCM gives the message. Raises DeadDeviceError, and RetryJob where it asks for patience."""
    account = json.loads(env["FCM_SERVICE_ACCOUNT"])
    answer = await _http.post(
        f"{env.get('FCM_API_URL', API_URL)}/v1/projects/{account['project_id']}/messages:send",
        headers={"authorization": f"Bearer {await _access_token(account)}"},
        json={
            "message": {
                "token": device_token,
                "notification": {"title": title, "body": body},
                "data": dict(data),
            }
        },
    )
    if answer.status_code == 200:
        return str(answer.json()["name"])
    code = _error_code(answer)
    if code in DEAD_TOKEN:
        raise DeadDeviceError(code)
    if answer.status_code == 429 or answer.status_code >= 500:
        delay = answer.headers.get("retry-after", "")
        raise RetryJob(
            f"FCM answered {answer.status_code} {code}", delay_s=float(delay) if delay.isdigit() else None
        )
    raise RuntimeError(f"FCM refused the message: {answer.status_code} {code}")


async def _access_token(account: Mapping[str, str]) -> str:
    global _token
    now = time.time()
    if _token is None or _token.expires_at - RENEW_BEFORE_S < now:
        claims = {
            "iss": account["client_email"],
            "scope": SCOPE,
            "aud": account["token_uri"],
            "iat": int(now),
            "exp": int(now) + 3600,
        }
        assertion = jwt.encode(
            claims, account["private_key"], algorithm="RS256", headers={"kid": account["private_key_id"]}
        )
        answer = await _http.post(account["token_uri"], data={"grant_type": GRANT, "assertion": assertion})
        answer.raise_for_status()
        granted = answer.json()
        _token = _AccessToken(granted["access_token"], now + granted["expires_in"])
    return _token.text


def _error_code(answer: httpx2.Response) -> str:
    """`UNREGISTERED` and its like in the details, else the status in words."""
    try:
        error = answer.json()["error"]
        codes = [detail["errorCode"] for detail in error.get("details", ()) if "errorCode" in detail]
        return str(codes[0] if codes else error["status"])
    except (ValueError, KeyError, TypeError):
        return "unknown"
