"""From a scenario to the bytes that are sent: targets, bodies, headers, tokens."""

import base64
import hashlib
import hmac
import json
import random
import time
from collections.abc import Mapping

from bench.load import Load
from bench.scenarios import Scenario
from bench.server import Server

OWNERS = 5000
USER = "00000000-0000-4000-8000-000000000007"
FRESH_TOKENS = 60_000  # they come round, but far later than any cache of verified tokens forgets them


def build_load(scenario: Scenario, server: Server, port: int, seconds: float, connections: int) -> Load:
    return Load(
        host=server.host,
        port=port,
        requests=[
            render_request(scenario, request_headers(scenario, server, token), number)
            for token in list_tokens(scenario, server)
            for number in shuffled(scenario.numbers)
        ],
        connections=scenario.connections or connections,
        seconds=seconds,
    )


def list_tokens(scenario: Scenario, server: Server) -> list[str]:
    if not scenario.fresh_tokens:
        return [sign_token(server.jwt_secret, USER, 0)]
    return [
        sign_token(server.jwt_secret, f"00000000-0000-4000-8000-{number % OWNERS:012}", number)
        for number in range(FRESH_TOKENS)
    ]


def shuffled(numbers: range) -> list[int]:
    """The same order in every run, one in which neighbours in time are none in the table; 0 where there are no
    numbers."""
    return random.Random(7).sample(numbers, len(numbers)) or [0]


def request_headers(scenario: Scenario, server: Server, token: str) -> dict[str, str]:
    return {
        "Host": f"{server.host}:{server.port}",
        "apikey": server.anon_key,
        "Authorization": f"Bearer {token}",
        "Accept": "application/json",
        "X-Client-Info": "supabase-js-web/2.0.0",
        **scenario.headers,
    }


def render_request(scenario: Scenario, headers: Mapping[str, str], number: int) -> str:
    target, body = fill(scenario.target, number), fill(scenario.body, number)
    length = {"Content-Length": str(len(body))} if body else {}
    lines = [f"{name}: {value}" for name, value in {**headers, **length}.items()]
    return "\r\n".join([f"{scenario.method} {target} HTTP/1.1", *lines, "", body])


def fill(template: str, number: int) -> str:
    """
    >>> fill("/articles?id=eq.{n}", 5)
    '/articles?id=eq.5'
    """
    return template.replace("{n}", str(number))


def sign_token(secret: str, user_id: str, serial: int) -> str:
    """HS256 by hand: signing is not what is measured."""
    claims = {
        "aud": "authenticated",
        "exp": int(time.time()) + 3600,
        "role": "authenticated",
        "sub": user_id,
        "session_id": f"00000000-0000-4000-9000-{serial:012}",
    }
    parts = [_encode({"alg": "HS256", "typ": "JWT"}), _encode(claims)]
    signature = hmac.digest(secret.encode(), ".".join(parts).encode(), hashlib.sha256)
    return ".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=").decode()])


def _encode(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
