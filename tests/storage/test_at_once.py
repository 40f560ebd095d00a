"""Many uploads at once: each is whole, and of several that want one name exactly one gets it."""

import asyncio
import hashlib
import random

import httpx2
import pytest

from tests.server import Server
from tests.storage.conftest import MakeBucket, unfinished_files

pytestmark = pytest.mark.req("P8")


def client(depot: Server) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        base_url=f"{depot.url}/storage/v1",
        headers={"authorization": f"Bearer {depot.service_role_key}"},
        timeout=60,
        limits=httpx2.Limits(max_connections=64),
    )


async def test_one_of_many_creates(depot: Server, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    async with client(depot) as http:
        sent = [http.post(f"/object/{bucket}/x", content=b"%d" % number) for number in range(24)]
        answers = await asyncio.gather(*sent)
        winners = [number for number, answer in enumerate(answers) if answer.status_code == 200]
        assert len(winners) == 1
        losers = {answer.json()["code"] for answer in answers if answer.status_code != 200}
        assert losers == {"KeyAlreadyExists"}
        assert (await http.get(f"/object/{bucket}/x")).content == b"%d" % winners[0]


async def test_readers_see_whole_objects_while_writers_replace_them(
    depot: Server, make_bucket: MakeBucket
) -> None:
    """Also readers of a public bucket, whose rows are remembered."""
    bucket = make_bucket(public=True)
    contents = [bytes([number]) * (300_000 + number) for number in range(12)]
    hashes = {hashlib.md5(content).hexdigest() for content in contents}
    unfinished = unfinished_files(depot)
    async with client(depot) as http:
        await http.put(f"/object/{bucket}/x", content=contents[0])

        async def write(content: bytes) -> None:
            (await http.put(f"/object/{bucket}/x", content=content)).raise_for_status()

        async def read(place: str) -> None:
            answer = await http.get(f"/object/{place}/{bucket}/x")
            assert answer.status_code == 200
            found = hashlib.md5(answer.content).hexdigest()
            assert found in hashes
            assert answer.headers["etag"] == f'"{found}"'

        work = [write(content) for content in contents]
        work += [read(place) for place in ("public", "authenticated") for _ in range(24)]
        random.Random(7).shuffle(work)
        await asyncio.gather(*work)
    assert unfinished_files(depot) == unfinished


async def test_many_different_uploads_at_once(depot: Server, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    async with client(depot) as http:
        contents = [bytes([number]) * 400_000 for number in range(48)]
        sent = [http.post(f"/object/{bucket}/{n}", content=content) for n, content in enumerate(contents)]
        assert {answer.status_code for answer in await asyncio.gather(*sent)} == {200}
        got = await asyncio.gather(*[http.get(f"/object/{bucket}/{n}") for n in range(48)])
        assert [answer.content for answer in got] == contents
