"""Refused handshakes and joins, word by word (protocol §1, §4.1), and frames that are no messages."""

import base64
import contextlib
import json
import time
from typing import Any

import jwt
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.realtime.conftest import Harbour, sign
from tests.realtime.phoenix import Phoenix, build_broadcast_push, socket_url

pytestmark = pytest.mark.req("P7", "S9")

WRONG_SECRET = "another secret of more than 32 characters"
MISSING_CLAIMS = "Fields `role` and `exp` are required in JWT"
NOT_A_JWT = "The token provided is not a valid JWT"
BAD_SIGNATURE = "Failed to validate JWT signature"


async def refused(url: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status and body of a handshake that does not succeed."""
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url, additional_headers=headers or {}):
            pass
    response = caught.value.response
    assert response.headers["content-type"] == "application/json"
    return response.status_code, json.loads(response.body or b"")


def token_of(harbour: Harbour, claims: dict[str, Any], secret: str | None = None, **header: Any) -> str:
    return jwt.encode(claims, secret or harbour.server.jwt_secret, algorithm="HS256", headers=header or None)


def bad_tokens(harbour: Harbour) -> list[tuple[str, str, str]]:
    """Token, what a handshake says to it, and what a join says."""
    now = int(time.time())
    good = {"role": "anon", "exp": now + 3600}
    head, _, signature = token_of(harbour, good).split(".")
    return [
        (token_of(harbour, {"role": "anon"}), MISSING_CLAIMS, f"InvalidJWTToken: {MISSING_CLAIMS}"),
        (token_of(harbour, {"exp": now + 3600}), MISSING_CLAIMS, f"InvalidJWTToken: {MISSING_CLAIMS}"),
        ("nonsense", NOT_A_JWT, f"MalformedJWT: {NOT_A_JWT}"),
        ("a.b.c", NOT_A_JWT, f"MalformedJWT: {NOT_A_JWT}"),
        (
            f"{head}.{base64.urlsafe_b64encode(b'{}').decode().rstrip('=')}.{signature}",
            BAD_SIGNATURE,
            f"JwtSignatureError: {BAD_SIGNATURE}",
        ),
        (token_of(harbour, good, WRONG_SECRET), BAD_SIGNATURE, f"JwtSignatureError: {BAD_SIGNATURE}"),
    ]


async def test_a_handshake_without_a_key_is_refused(harbour: Harbour) -> None:
    url = harbour.server.url
    for query in ({"vsn": "2.0.0"}, {"apikey": ""}, {"apikey": "  "}):
        assert await refused(socket_url(url, query)) == (401, {"error": "API key is missing"})


async def test_a_handshake_with_a_bad_key_is_told_why(harbour: Harbour) -> None:
    for token, reason, _ in bad_tokens(harbour):
        assert await refused(socket_url(harbour.server.url, {"apikey": token})) == (401, {"error": reason})


async def test_a_handshake_with_an_expired_key_is_refused(harbour: Harbour) -> None:
    """There is no leeway, unlike for HTTP requests."""
    for seconds in (2, 3600):
        token = harbour.token(exp=int(time.time()) - seconds)
        answer = await refused(socket_url(harbour.server.url, {"apikey": token}))
        assert answer == (401, {"error": "Token has expired"})


async def test_a_handshake_with_an_unsigned_token_is_refused(harbour: Harbour) -> None:
    token = jwt.encode({"role": "service_role", "exp": int(time.time()) + 60}, "", algorithm="none")
    status, _ = await refused(socket_url(harbour.server.url, {"apikey": token}))
    assert status == 401


async def test_a_handshake_with_an_unknown_project_key_is_refused(harbour: Harbour) -> None:
    for key in ("sb_publishable_nobody", "sb_secret_nobody"):
        assert (await refused(socket_url(harbour.server.url, {"apikey": key})))[0] == 401


async def test_a_handshake_with_an_unknown_version_is_refused(harbour: Harbour) -> None:
    for vsn in ("3.0.0", "2", "", "1.0.0 "):
        url = socket_url(harbour.server.url, {"apikey": harbour.server.anon_key, "vsn": vsn})
        status, body = await refused(url)
        assert (status, list(body)) == (400, ["error"])
        assert "1.0.0 or 2.0.0" in body["error"]


async def test_other_paths_take_no_sockets(harbour: Harbour) -> None:
    base = harbour.server.url.replace("http", "ws", 1)
    for path in ("/realtime/v1/nothing", "/realtime/v1", "/rest/v1/todos", "/nothing"):
        status, _ = await refused(f"{base}{path}?apikey={harbour.server.anon_key}")
        assert status == 404, path


async def test_an_ordinary_request_to_the_socket_is_told_to_upgrade(harbour: Harbour) -> None:
    with harbour.server.client() as client:
        answer = client.get("/realtime/v1/websocket")
    assert answer.status_code == 426


async def test_every_kind_of_key_opens_a_socket(harbour: Harbour) -> None:
    server = harbour.server
    keys = [server.anon_key, server.service_role_key, server.publishable_key, server.secret_key]
    decimals = jwt.encode(
        {"role": "anon", "exp": time.time() + 60.5, "iat": time.time() - 0.5},
        server.jwt_secret,
        algorithm="HS256",
    )
    for key in [*keys, harbour.token(), decimals, f" {server.anon_key} "]:
        phx = await harbour.socket(key=key)
        assert await phx.drain() == []


async def test_the_header_wins_over_the_query(harbour: Harbour) -> None:
    url = socket_url(harbour.server.url, {"apikey": "nonsense"})
    async with connect(url, additional_headers={"x-api-key": harbour.server.anon_key}) as websocket:
        assert await Phoenix(websocket, "1.0.0").drain() == []
    good = socket_url(harbour.server.url, {"apikey": harbour.server.anon_key})
    assert (await refused(good, {"x-api-key": "nonsense"}))[0] == 401


async def test_without_a_version_the_first_is_spoken(harbour: Harbour) -> None:
    async with connect(socket_url(harbour.server.url, {"apikey": harbour.server.anon_key})) as websocket:
        assert await Phoenix(websocket, "1.0.0").drain() == []


# Joins


async def test_a_join_with_a_bad_token_is_refused_and_the_socket_stays_open(
    harbour: Harbour, name: str
) -> None:
    phx = await harbour.socket()
    for token, _, reason in bad_tokens(harbour):
        assert await phx.refused_join(name, token=token) == reason
    await phx.join(name)
    assert await phx.drain() == []


async def test_a_join_with_an_expired_token_is_told_for_how_long(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    for seconds in (5, 3600):
        before = int(time.time())
        reason = await phx.refused_join(name, token=harbour.token(exp=before - seconds))
        late = int(time.time()) - before
        assert reason in {
            f"InvalidJWTToken: Token has expired {seconds + n} seconds ago" for n in range(late + 1)
        }


@pytest.mark.parametrize("exp", ["soon", True, [], {}])
async def test_a_join_whose_expiry_makes_no_sense_is_refused(
    harbour: Harbour, name: str, exp: object
) -> None:
    phx = await harbour.socket()
    claims = {"role": "anon", "exp": exp}
    head, payload = ({"alg": "HS256", "typ": "JWT"}, claims)
    signed = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (head, payload)
    )
    algorithm = jwt.get_algorithm_by_name("HS256")
    mac = algorithm.sign(signed.encode(), harbour.server.jwt_secret.encode())
    token = f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
    assert await phx.refused_join(name, token=token) == "InvalidJWTToken: Token expiration time is invalid"


async def test_a_join_needs_a_name(harbour: Harbour) -> None:
    phx = await harbour.socket()
    assert await phx.refused_join("") == "TopicNameRequired: You must provide a topic name"


async def test_a_private_join_without_a_policy_is_refused(harbour: Harbour, name: str) -> None:
    for vsn in ("1.0.0", "2.0.0"):
        phx = await harbour.socket(vsn)  # type: ignore[arg-type]
        reason = "Unauthorized: You do not have permissions to read from this Channel topic: "
        assert await phx.refused_join(name, {"private": True}) == reason + name
        assert await phx.refused_join(f"room:{name}", {"private": True}) == f"{reason}room:{name}"
        await phx.join(f"room:{name}", {"private": True}, token=harbour.token())


async def test_a_refused_channel_is_not_joined(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    await phx.refused_join(name, {"private": True})
    await phx.broadcast(f"realtime:{name}", "e", {})
    reply = await phx.next()
    assert reply.payload == {"status": "error", "response": {"reason": "unmatched topic"}}


async def test_replay_is_for_private_channels(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    reason = "UnableToReplayMessages: Replay is not allowed for public channels"
    assert await phx.refused_join(name, {"broadcast": {"replay": {"since": 0}}}) == reason


@pytest.mark.parametrize(
    "replay",
    [
        {},
        {"since": "yesterday"},
        {"since": None},
        {"since": True},
        {"since": -1},
        {"since": 0, "limit": 0},
        [],
        "x",
    ],
    ids=str,
)
async def test_replay_wants_a_time(harbour: Harbour, name: str, replay: object) -> None:
    phx = await harbour.socket(key=harbour.token())
    config = {"private": True, "broadcast": {"replay": replay}}
    reason = "UnableToReplayMessages: Replay params are not valid"
    assert await phx.refused_join(f"room:{name}", config) == reason


async def test_a_broken_token_after_a_good_key_does_not_fall_back_to_the_key(
    harbour: Harbour, name: str
) -> None:
    phx = await harbour.socket(key=harbour.server.service_role_key)
    assert "JwtSignatureError" in await phx.refused_join(name, token=sign(WRONG_SECRET, role="anon"))


async def test_the_user_token_wins_over_the_access_token(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    user, other = harbour.token(), harbour.token(role="anon")
    assert "Unauthorized" in await phx.refused_join(
        f"room:{name}", {"private": True}, token=user, user_token=other
    )
    await phx.join(f"room:{name}", {"private": True}, token=other, user_token=user)


async def test_a_project_key_in_a_tokens_place_means_the_key_of_the_socket(
    harbour: Harbour, name: str
) -> None:
    phx = await harbour.socket(key=harbour.token())
    await phx.join(f"room:{name}", {"private": True}, token="sb_publishable_whatever")


# Frames that are no messages

MALFORMED_2: list[str | bytes] = [
    "", "{", "null", "[]", "{}", "1", '"x"', '[null,null,"a"]', '[null,null,1,"e",{}]', '[null,null,"t",null,{}]',
    '[{},"1","phoenix","heartbeat",{}]', '["1","1","t","e",{},"more"]', "[" * 50_000, '{"topic":"phoenix","event":"x"}',
    b"", b"\x00", b"\x01\x00\x00\x00\x00", b"\x02\x00\x00", b"\x03", b"\x03\xff\xff\xff\xff\xff\x01", b"\xff" * 50,
    b"\x03\x00\x00\x01\x01\x00\x01\xff\xff{}", b"\x03\x00\x00\x01\x01\x00\x09ab{}",
]  # fmt: skip
MALFORMED_1: list[str | bytes] = [
    "", "[", "null", "[]", "{}", '{"topic":"phoenix"}', '{"topic":1,"event":"e","payload":{},"ref":null}',
    '["1","1","phoenix","heartbeat",{}]', '{"topic":"phoenix","event":"heartbeat","payload":{},"ref":{}}',
    b'{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}', b"\x03\x00\x00\x01\x01\x00\x01ab{}",
]  # fmt: skip


async def test_malformed_frames_are_dropped_and_the_socket_stays_open(harbour: Harbour) -> None:
    second, first = await harbour.socket("2.0.0"), await harbour.socket("1.0.0")
    for frame in MALFORMED_2:
        await second.send_raw(frame)
    for frame in MALFORMED_1:
        await first.send_raw(frame)
    assert await second.drain() == []
    assert await first.drain() == []


async def test_a_broadcast_that_calls_itself_json_and_is_not_reaches_nobody(
    harbour: Harbour, name: str
) -> None:
    sender, receiver = await harbour.socket(), await harbour.socket("1.0.0")
    await sender.join(name, {"broadcast": {"ack": True}})
    await receiver.join(name)
    topic = f"realtime:{name}"
    for payload in (b"{", b"", b"nul", b'{"a":1}}', b'"\xff"', b"NaN"):
        frame = bytearray(build_broadcast_push(topic, "e", payload, join_ref="1", ref="9"))
        frame[6] = 1
        await sender.send_raw(bytes(frame))
    assert await sender.drain() == []
    assert await receiver.drain() == []


async def test_a_frame_larger_than_the_limit_closes_the_socket_with_a_reason(harbour: Harbour) -> None:
    phx = await harbour.socket()
    with contextlib.suppress(ConnectionClosed):  # it may notice while it still sends
        await phx.send_raw("x" * 5_000_001)
    assert (await phx.closed())[0] == 1009


async def test_text_that_is_not_utf_8_closes_the_socket(harbour: Harbour) -> None:
    phx = await harbour.socket()
    phx.websocket.protocol.send_text(b"\xff\xfe")
    phx.websocket.transport.write(b"".join(phx.websocket.protocol.data_to_send()))
    assert (await phx.closed())[0] == 1007
