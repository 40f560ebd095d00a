"""Private channels: the policies on `realtime.messages` decide, at the join, at the first send, and again with each new
token (protocol §10, §11)."""

import time
import uuid

import pytest
from websockets.exceptions import InvalidStatus

from tests.realtime.conftest import Harbour
from tests.realtime.phoenix import Message, Phoenix

pytestmark = pytest.mark.req("P7", "S9")

OK = {"status": "ok", "response": {}}
CANNOT_READ = "You do not have permissions to read from this Channel topic: "
LOST_READ = "You no longer have permission to read from this Channel topic: "
PRIVATE = {"private": True}


async def private(
    harbour: Harbour, name: str, token: str, *, ack: bool = True, presence: bool = False
) -> Phoenix:
    phx = await harbour.socket()
    await phx.join(
        name, {"private": True, "broadcast": {"ack": ack}, "presence": {"enabled": presence}}, token=token
    )
    return phx


def ended(messages: list[Message], name: str, reason: str) -> None:
    """The server said why, and then closed the channel."""
    told, closed = messages
    assert told.short == (
        "system",
        {"extension": "system", "status": "error", "message": reason, "channel": name},
    )
    assert (closed.event, closed.ref, closed.payload) == ("phx_close", "1", {})


async def test_policies_see_the_topic_and_the_claims(harbour: Harbour) -> None:
    ann, bob = str(uuid.uuid4()), str(uuid.uuid4())
    phx = await harbour.socket()
    await phx.join(f"user:{ann}", PRIVATE, token=harbour.token(ann))
    reason = await phx.refused_join(f"user:{bob}", PRIVATE, token=harbour.token(ann))
    assert reason == f"Unauthorized: {CANNOT_READ}user:{bob}"
    await phx.join(f"vip:{ann}", PRIVATE, token=harbour.token(vip="broadcast"))
    assert "Unauthorized" in await phx.refused_join(
        f"vip:{bob}", PRIVATE, token=harbour.token(vip="presence")
    )


async def test_a_policy_that_raises_means_no(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket(key=harbour.token())
    reason = await phx.refused_join(f"raises:{name}", PRIVATE)
    assert reason == f"Unauthorized: {CANNOT_READ}raises:{name}"
    await phx.join(f"unwritable:{name}", {"private": True, "broadcast": {"ack": True}})
    await phx.broadcast(f"realtime:unwritable:{name}", "e", {})
    await phx.join(f"room:{name}", PRIVATE)
    assert await phx.drain() == []


async def test_a_subject_that_is_no_uuid_is_told_no_and_not_more(harbour: Harbour, name: str) -> None:
    """`auth.uid()` raises with it."""
    phx = await harbour.socket(key=harbour.token("no uuid"))
    assert await phx.refused_join(f"user:{name}", PRIVATE) == f"Unauthorized: {CANNOT_READ}user:{name}"


@pytest.mark.parametrize(
    "role",
    ["postgres", "supabase_realtime_admin", "authenticator", "none", "nobody_like_this", "anon; reset role"],
)
async def test_a_role_that_no_request_may_have_opens_nothing(harbour: Harbour, name: str, role: str) -> None:
    """Realtime's own login could become `postgres`, and "none" is what PostgreSQL calls the one that has logged in."""
    token = harbour.token(role=role)
    words = "The role in the token may not be used"
    with pytest.raises(InvalidStatus) as refused:
        await harbour.socket(key=token)
    assert refused.value.response.status_code == 401
    phx = await harbour.socket()
    assert await phx.refused_join(f"closed:{name}", PRIVATE, token=token) == f"InvalidJWTToken: {words}"
    await phx.join(name)
    await phx.renew(f"realtime:{name}", token)
    assert (await phx.until("system")).payload["message"] == words
    with harbour.server.client(token=token) as http:
        assert http.post(f"/realtime/v1/api/broadcast/{name}/events/e", json={}).status_code == 401


async def test_the_service_role_may_do_everything(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket(key=harbour.server.service_role_key)
    await phx.join(name, {"private": True, "broadcast": {"ack": True, "self": True}})
    ref = await phx.broadcast(f"realtime:{name}", "e", {})
    own, ack = await phx.take(2)
    assert own.payload["event"] == "e"
    assert (ack.ref, ack.payload) == (ref, OK)


async def test_who_may_not_write_is_not_heard_and_not_answered(harbour: Harbour, name: str) -> None:
    topic = f"shown:{name}"
    reader, writer = await harbour.socket(), await harbour.socket(key=harbour.server.service_role_key)
    await reader.join(topic, {"private": True, "broadcast": {"ack": True}})
    await writer.join(topic, {"private": True, "broadcast": {"self": True}})
    await reader.broadcast(f"realtime:{topic}", "unheard", {})
    await reader.push(f"realtime:{topic}", "unheard", {})
    await writer.broadcast(f"realtime:{topic}", "heard", {})
    assert (await writer.next()).payload["event"] == "heard"
    assert (await reader.next()).payload["event"] == "heard"
    # leaving is done behind what the reader sent: by then nothing more can come
    await reader.send(f"realtime:{topic}", "phx_leave")
    assert [message.event for message in await reader.take(2)] == ["phx_reply", "phx_close"]
    assert await writer.drain() == []


async def test_probes_leave_no_trace(harbour: Harbour, name: str) -> None:
    phx = await private(harbour, f"room:{name}", harbour.token(), presence=True)
    await phx.broadcast(f"realtime:room:{name}", "e", {})
    await phx.track(f"realtime:room:{name}", {})
    await phx.until("presence_diff")
    query = "select count(*) from realtime.messages where event = 'probe' and topic = %s"
    found = harbour.sql.execute(query, [f"room:{name}"]).fetchone()
    assert found == (0,)


async def test_permissions_are_kept_until_the_token_changes(harbour: Harbour, name: str) -> None:
    topic = f"realtime:{name}"
    harbour.sql.execute("insert into doors values (%s)", (name,))
    sub = str(uuid.uuid4())
    phx = await private(harbour, name, harbour.token(sub))
    ref = await phx.broadcast(topic, "e", {})
    assert (await phx.next()).ref == ref
    harbour.sql.execute("delete from doors where topic = %s", (name,))
    ref = await phx.broadcast(topic, "e", {})
    assert (await phx.next()).ref == ref
    other = await harbour.socket()
    assert "Unauthorized" in await other.refused_join(name, PRIVATE, token=harbour.token(sub))
    await phx.renew(topic, harbour.token(sub))
    ended(await phx.take(2), name, CANNOT_READ + name)


async def test_a_permission_that_was_refused_is_kept_too(harbour: Harbour, name: str) -> None:
    topic = f"realtime:vip:{name}"
    phx = await private(harbour, f"vip:{name}", harbour.token(vip="all"))
    for _ in range(2):
        await phx.broadcast(topic, "e", {})
    await phx.renew(topic, harbour.token(vip="all", writes="all"))
    ref = await phx.broadcast(topic, "e", {})
    (reply,) = [await phx.next()]
    assert (reply.ref, reply.payload) == (ref, OK)
    await phx.renew(topic, harbour.token(vip="all"))
    await phx.broadcast(topic, "e", {})
    await phx.send(topic, "phx_leave")
    assert [message.event for message in await phx.take(2)] == ["phx_reply", "phx_close"]


# Tokens (protocol §10)


async def test_a_new_token_is_taken_without_a_reply(harbour: Harbour, name: str) -> None:
    phx = await private(harbour, f"room:{name}", harbour.token())
    topic = f"realtime:room:{name}"
    await phx.renew(topic, harbour.token())
    ref = await phx.broadcast(topic, "e", {})
    reply = await phx.next()
    assert (reply.ref, reply.payload) == (ref, OK)


@pytest.mark.parametrize("token", [None, "sb_publishable_x", "sb_secret_x", 3, {}], ids=str)
async def test_what_is_no_new_token_is_ignored(harbour: Harbour, name: str, token: object) -> None:
    phx = await harbour.socket()
    await phx.join(name)
    await phx.renew(f"realtime:{name}", token)
    await phx.send(f"realtime:{name}", "access_token", [token])
    assert await phx.drain() == []


async def test_the_token_in_use_is_ignored(harbour: Harbour, name: str) -> None:
    harbour.sql.execute("insert into doors values (%s)", (name,))
    token = harbour.token()
    phx = await private(harbour, name, token)
    harbour.sql.execute("delete from doors where topic = %s", (name,))
    await phx.renew(f"realtime:{name}", token)
    ref = await phx.send(f"realtime:{name}", "phx_leave")
    assert (await phx.next()).ref == ref


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("nonsense", "The token provided is not a valid JWT"),
        ("", "The token provided is not a valid JWT"),
        ({"exp": None}, "Fields `role` and `exp` are required in JWT"),
        ({"role": None}, "Fields `role` and `exp` are required in JWT"),
    ],
    ids=str,
)
async def test_a_bad_token_ends_the_channel_and_no_other(
    harbour: Harbour, name: str, bad: str | dict[str, None], reason: str
) -> None:
    phx = await harbour.socket()
    await phx.join(name)
    await phx.join(f"{name} too")
    token = bad if isinstance(bad, str) else harbour.token(**bad)
    await phx.renew(f"realtime:{name}", token)
    ended(await phx.take(2), name, reason)
    await phx.renew(f"realtime:{name}", token)
    assert (await phx.next()).payload["response"] == {"reason": "unmatched topic"}
    await phx.send(f"realtime:{name} too", "phx_leave")
    assert (await phx.next()).payload == OK


async def test_an_expired_token_ends_the_channel(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    await phx.join(name)
    await phx.renew(f"realtime:{name}", harbour.token(exp=int(time.time()) - 5))
    messages = await phx.take(2)
    seconds = int(messages[0].payload["message"].split()[3])
    assert 5 <= seconds <= 15
    ended(messages, name, f"Token has expired {seconds} seconds ago")


async def test_a_channel_ends_when_its_token_expires(harbour: Harbour, name: str) -> None:
    phx, other = await harbour.socket(), await harbour.socket()
    started = time.monotonic()
    await phx.join(name, token=harbour.token(expires_in_s=1.2))
    await other.join(name, token=harbour.token(expires_in_s=1.2))
    await other.renew(f"realtime:{name}", harbour.token())
    messages = await phx.take(2)
    seconds = int(messages[0].payload["message"].split()[3])
    assert 0 <= seconds <= 5
    ended(messages, name, f"Token has expired {seconds} seconds ago")
    assert 1 <= time.monotonic() - started < 10
    await other.send(f"realtime:{name}", "phx_leave")
    assert (await other.next()).payload == OK


async def test_a_new_token_that_may_not_read_ends_the_channel(harbour: Harbour, name: str) -> None:
    phx = await private(harbour, f"room:{name}", harbour.token())
    await phx.renew(f"realtime:room:{name}", harbour.token(role="anon"))
    ended(await phx.take(2), f"room:{name}", f"{CANNOT_READ}room:{name}")


async def test_a_new_token_that_may_read_less_ends_the_channel(harbour: Harbour, name: str) -> None:
    topic = f"vip:{name}"
    for lost in ("broadcast", "presence"):
        phx = await private(harbour, topic, harbour.token(vip="all"), presence=True)
        assert (await phx.next()).event == "presence_state"
        await phx.renew(f"realtime:{topic}", harbour.token(vip=lost))
        ended(await phx.take(2), topic, LOST_READ + topic)


async def test_a_token_of_another_channel_changes_nothing_here(harbour: Harbour, name: str) -> None:
    """Every channel has its own."""
    token = harbour.token()
    phx = await harbour.socket()
    await phx.join(f"room:{name}", PRIVATE, token=token)
    await phx.join(name)
    await phx.renew(f"realtime:{name}", harbour.token(role="anon"))
    await phx.send(f"realtime:room:{name}", "phx_leave")
    assert (await phx.next()).payload == OK
