"""Resumable uploads: what breaks off goes on, and one request at a time works on an upload."""

import hashlib
import random
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx2
import psycopg
import pytest

from tests.server import Server
from tests.storage.conftest import MakeBucket, storage_client, unfinished_files
from tests.storage.tus import (
    BASE,
    TUS,
    append,
    arrived,
    begin,
    broken_append,
    broken_request,
    fetch,
    metadata,
    offset_of,
    parts_of,
    read_answer,
    upload_id,
    wait_for,
)

pytestmark = [pytest.mark.req("P8"), pytest.mark.usefixtures("without_uploads")]

TAKEN_OVER = (400, "Another request continues this upload")
HOLD = """
update basalt.resumable_uploads set locked_by = %s, locked_until = now() + %s * interval '1 second' where id = %s
"""


def is_held(rows: psycopg.Connection, url: str) -> bool:
    found = rows.execute(
        "select locked_until > now() from basalt.resumable_uploads where id = %s", [upload_id(url)]
    )
    return found.fetchall() == [(True,)]


def hold(rows: psycopg.Connection, url: str, *, seconds: int) -> None:
    """As another gateway process would."""
    rows.execute(HOLD, [uuid4(), seconds, upload_id(url)])


def test_what_came_before_the_connection_broke_is_kept(
    admin: httpx2.Client, make_bucket: MakeBucket, depot: Server, rows: psycopg.Connection
) -> None:
    """But for what the server had not begun to work on."""
    bucket = make_bucket()
    content = random.Random(1).randbytes(6_000_000)
    url = begin(admin, bucket, "a.bin", len(content))
    before = unfinished_files(depot)
    with broken_append(depot, url, 0, content[:4_000_000], length=len(content)):
        wait_for(lambda: unfinished_files(depot) != before)
    wait_for(lambda: not is_held(rows, url))
    offset = offset_of(admin, url)
    assert 1_000_000 < offset <= 4_000_000
    assert offset == arrived(depot, url)
    assert append(admin, url, offset, content[offset:]).headers["tus-complete"] == "1"
    assert fetch(admin, bucket, "a.bin") == content


def test_nothing_stays_of_a_creation_that_broke_off(
    make_bucket: MakeBucket, depot: Server, rows: psycopg.Connection
) -> None:
    """Its client never learns where the upload is."""
    bucket = make_bucket()
    before = unfinished_files(depot)

    def count() -> int:
        found = rows.execute(
            "select count(*) from basalt.resumable_uploads where bucket_id = %s", [bucket]
        ).fetchall()
        return int(found[0][0])

    headers = {
        "authorization": f"Bearer {depot.service_role_key}",
        "upload_length": "10",
        "upload_metadata": metadata(bucket, "a.txt"),
    }
    with broken_request("POST", f"{depot.url}/storage/v1{BASE}", b"hello", length=10, **headers):
        wait_for(lambda: count() == 1)
    wait_for(lambda: count() == 0)
    wait_for(lambda: unfinished_files(depot) == before)


@pytest.mark.parametrize("comes_back_with", ["a question", "the next bytes", "the end of it"])
def test_whoever_comes_back_takes_over_from_the_connection_it_lost(
    admin: httpx2.Client,
    make_bucket: MakeBucket,
    depot: Server,
    rows: psycopg.Connection,
    comes_back_with: str,
) -> None:
    bucket = make_bucket()
    url = begin(admin, bucket, "a.txt")
    started = time.monotonic()
    with broken_append(depot, url, 0, b"hello", length=10) as old:
        wait_for(lambda: is_held(rows, url))
        match comes_back_with:
            case "a question":
                assert offset_of(admin, url) == 5
            case "the next bytes":
                assert append(admin, url, 5, b"world").headers["tus-complete"] == "1"
                assert fetch(admin, bucket, "a.txt") == b"helloworld"
            case _:
                assert admin.delete(url, headers=TUS).status_code == 204
                assert parts_of(depot, url) == []
        assert read_answer(old) == TAKEN_OVER
    assert time.monotonic() - started < 4  # nobody waited for a lease to run out


def test_another_process_is_waited_for_and_told(
    admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    url = begin(admin, make_bucket(), "a.txt")
    hold(rows, url, seconds=30)
    started = time.monotonic()
    answer = append(admin, url, 0, b"hello")
    assert (answer.status_code, answer.text) == (503, "acquiring lock timeout")
    assert 4.5 < time.monotonic() - started < 8
    found = rows.execute(
        "select is_wanted from basalt.resumable_uploads where id = %s", [upload_id(url)]
    ).fetchall()
    assert found == [(True,)]
    hold(rows, url, seconds=0)
    assert append(admin, url, 0, b"hello").headers["upload-offset"] == "5"


def test_a_process_stops_reading_for_another_one(
    admin: httpx2.Client, make_bucket: MakeBucket, depot: Server, rows: psycopg.Connection
) -> None:
    url = begin(admin, make_bucket(), "a.txt")
    with broken_append(depot, url, 0, b"hello", length=10) as old:
        wait_for(lambda: is_held(rows, url))
        rows.execute("update basalt.resumable_uploads set is_wanted = true where id = %s", [upload_id(url)])
        assert read_answer(old) == TAKEN_OVER
    assert not is_held(rows, url)
    assert offset_of(admin, url) == 5


def test_a_lease_is_renewed_while_bytes_are_awaited(
    admin: httpx2.Client, make_bucket: MakeBucket, depot: Server, rows: psycopg.Connection
) -> None:
    url = begin(admin, make_bucket(), "a.txt")

    def remaining_s() -> float:
        found = rows.execute(
            "select extract(epoch from locked_until - now()) from basalt.resumable_uploads where id = %s",
            [upload_id(url)],
        ).fetchall()
        return float(found[0][0] or 0)

    with broken_append(depot, url, 0, b"hello", length=10):
        wait_for(lambda: is_held(rows, url))
        wait_for(lambda: remaining_s() < 5.8)
        wait_for(lambda: remaining_s() > 5.9)


def test_a_request_that_lost_its_lease_promises_nothing(
    admin: httpx2.Client, make_bucket: MakeBucket, depot: Server, rows: psycopg.Connection
) -> None:
    bucket = make_bucket()
    url = begin(admin, bucket, "a.txt", 5)
    with broken_append(depot, url, 0, b"hell", length=5) as old:
        wait_for(lambda: is_held(rows, url))
        hold(rows, url, seconds=-1)  # it slept, and somebody else took over and is gone, too
        old.sendall(b"o")
        status = int(old.recv(65536).split()[1])
    assert status == 423
    assert admin.get(f"/object/authenticated/{bucket}/a.txt").status_code == 400
    begin_at = offset_of(admin, url)
    if begin_at < 5:
        append(admin, url, begin_at, b"hello"[begin_at:])
    assert fetch(admin, bucket, "a.txt") == b"hello"


def test_a_part_of_a_dead_process_that_turns_up_late_does_not_count(
    admin: httpx2.Client, make_bucket: MakeBucket, depot: Server, rows: psycopg.Connection
) -> None:
    bucket = make_bucket()
    url = begin(admin, bucket, "a.txt")
    append(admin, url, 0, b"he")
    hold(rows, url, seconds=-1)
    append(admin, url, 2, b"llo")
    assert [part.name.partition(".")[0] for part in parts_of(depot, url)] == ["00001", "00003"]
    late = parts_of(depot, url)[0].with_name(f"00002.2.{hashlib.md5(b'XX').hexdigest()}")
    late.write_bytes(b"XX")
    assert offset_of(admin, url) == 5
    append(admin, url, 5, b"world")
    assert fetch(admin, bucket, "a.txt") == b"helloworld"
    assert parts_of(depot, url) == []


def test_an_upload_whose_last_request_died_before_its_end_is_finished_by_a_question(
    admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    """tus-js-client takes an offset at the end for success and sends no more."""
    bucket = make_bucket()
    url = begin(admin, bucket, "a.txt", None)
    append(admin, url, 0, b"hello")
    rows.execute("update basalt.resumable_uploads set length = 5 where id = %s", [upload_id(url)])
    assert admin.get(f"/object/authenticated/{bucket}/a.txt").status_code == 400
    assert offset_of(admin, url) == 5
    assert fetch(admin, bucket, "a.txt") == b"hello"


def test_several_clients_at_one_upload_do_no_harm(
    make_bucket: MakeBucket, admin: httpx2.Client, depot: Server
) -> None:
    """As a page that is open twice: each asks for the offset and sends what is missing, and they get into each
    other's way."""
    bucket = make_bucket()
    content = random.Random(1).randbytes(3_000_000)
    url = begin(admin, bucket, "a.bin", len(content))

    def upload(seed: int) -> bool:
        piece = random.Random(seed)
        with storage_client(depot, depot.service_role_key) as client:
            for _ in range(200):
                seen = client.head(url, headers=TUS)
                offset = int(seen.headers.get("upload-offset", 0))
                if offset == len(content):
                    return True
                sent = content[offset : offset + piece.randrange(100_000, 600_000)]
                assert append(client, url, offset, sent).status_code in (204, 400, 409, 503)
        return False

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(upload, range(4)))
    assert fetch(admin, bucket, "a.bin") == content
    assert parts_of(depot, url) == []
