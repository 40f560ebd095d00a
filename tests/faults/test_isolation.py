"""Role and claims never leak from one request to the next, however many share a connection."""

import asyncio
import json
import random
import uuid
from typing import Any

import httpx2
import jwt
import pytest

from tests.server import Server


def token_of(server: Server, user_id: str) -> str:
    return jwt.encode(
        {"role": "authenticated", "sub": user_id, "aud": "authenticated"},
        server.jwt_secret,
        algorithm="HS256",
    )


@pytest.mark.req("P5")
async def test_two_hundred_mixed_requests_at_once_each_see_themselves(server: Server) -> None:
    users = [str(uuid.uuid4()) for _ in range(20)]
    limits = httpx2.Limits(max_connections=200)
    async with httpx2.AsyncClient(base_url=server.url, limits=limits, timeout=60) as client:

        async def as_user(user_id: str) -> None:
            headers = {"authorization": f"Bearer {token_of(server, user_id)}"}
            match random.randrange(5):
                case 0:
                    answer = await client.get("/rest/v1/rpc/whoami", headers=headers)
                    assert who(answer) == ("authenticated", user_id)
                case 1:
                    answer = await client.post("/rest/v1/secrets", headers=headers, json={"body": user_id})
                    assert answer.status_code == 201, answer.text
                case 2:
                    answer = await client.get("/rest/v1/secrets?select=owner,body", headers=headers)
                    assert {row["owner"] for row in answer.json()} <= {user_id}
                case 3:
                    answer = await client.post(
                        "/rest/v1/rpc/fail", headers=headers, json={"message": "on purpose"}
                    )
                    assert answer.status_code == 400
                case _:
                    await give_up(client, headers)

        async def as_nobody() -> None:
            answer = await client.get("/rest/v1/rpc/whoami")
            assert who(answer) == ("anon", None)
            assert (await client.get("/rest/v1/secrets")).json() == []

        async def as_service() -> None:
            answer = await client.get("/rest/v1/rpc/whoami", headers={"apikey": server.secret_key})
            assert who(answer) == ("service_role", None)

        for _ in range(5):
            work = [as_user(random.choice(users)) for _ in range(120)]
            work += [as_nobody() for _ in range(50)] + [as_service() for _ in range(30)]
            random.shuffle(work)
            await asyncio.gather(*work)


async def give_up(client: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    """A request whose client goes away in the middle."""
    with pytest.raises(httpx2.TimeoutException):
        await client.post("/rest/v1/rpc/nap", headers=headers, json={"seconds": 2}, timeout=0.1)


def who(answer: httpx2.Response) -> tuple[str, Any]:
    assert answer.status_code == 200, answer.text
    body = json.loads(answer.content)
    return body["role"], body["sub"]
