"""What is remembered of public buckets never outlives a change, whoever made it."""

import time
from collections.abc import Callable

import httpx2
import psycopg
import pytest

from tests.storage.conftest import MakeBucket

pytestmark = pytest.mark.req("P8")


def eventually(condition: Callable[[], bool], limit_s: float = 5) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def shown(admin: httpx2.Client, make_bucket: MakeBucket) -> str:
    """A public bucket with `x`, which has been read, so that it is remembered."""
    bucket = make_bucket("public", public=True)
    admin.post(f"/object/{bucket}/x", content=b"one").raise_for_status()
    for _ in range(3):
        assert admin.get(f"/object/public/{bucket}/x").content == b"one"
    return bucket


def test_a_replacement_is_read_at_once(admin: httpx2.Client, shown: str) -> None:
    for content in (b"two", b"three", b"four"):
        admin.put(f"/object/{shown}/x", content=content).raise_for_status()
        assert admin.get(f"/object/public/{shown}/x").content == content


def test_what_is_deleted_is_gone_at_once(admin: httpx2.Client, shown: str) -> None:
    admin.delete(f"/object/{shown}/x").raise_for_status()
    assert admin.get(f"/object/public/{shown}/x").json()["code"] == "NoSuchKey"


@pytest.mark.parametrize("way", ["many", "empty", "move", "private"])
def test_other_ways_to_go_are_seen_at_once(admin: httpx2.Client, shown: str, way: str) -> None:
    match way:
        case "many":
            admin.request("DELETE", f"/object/{shown}", json={"prefixes": ["x"]})
        case "empty":
            admin.post(f"/bucket/{shown}/empty")
        case "move":
            names = {"bucketId": shown, "sourceKey": "x", "destinationKey": "y"}
            admin.post("/object/move", json=names)
        case _:
            admin.put(f"/bucket/{shown}", json={"public": False})
    assert admin.get(f"/object/public/{shown}/x").status_code == 400


def test_changes_by_sql_are_heard(admin: httpx2.Client, shown: str, rows: psycopg.Connection) -> None:
    rows.execute('update storage.objects set metadata = metadata || \'{"cacheControl": "max-age=1"}\'')
    eventually(lambda: admin.get(f"/object/public/{shown}/x").headers["cache-control"] == "max-age=1")
    rows.execute("update storage.buckets set public = false where id = %s", [shown])
    eventually(lambda: admin.get(f"/object/public/{shown}/x").status_code == 400)
    rows.execute("update storage.buckets set public = true where id = %s", [shown])
    eventually(lambda: admin.get(f"/object/public/{shown}/x").status_code == 200)
    rows.execute("select set_config('storage.allow_delete_query', 'true', false)")
    rows.execute("delete from storage.objects where bucket_id = %s", [shown])
    eventually(lambda: admin.get(f"/object/public/{shown}/x").status_code == 400)


def test_nothing_is_remembered_while_nobody_listens(
    admin: httpx2.Client, shown: str, rows: psycopg.Connection
) -> None:
    ended = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'basalt/storage-listener'"
    assert rows.execute(ended).rowcount == 1
    rows.execute("update storage.buckets set public = false where id = %s", [shown])
    eventually(lambda: admin.get(f"/object/public/{shown}/x").status_code == 400)
    listens = "select from pg_stat_activity where application_name = 'basalt/storage-listener'"
    eventually(lambda: rows.execute(listens).rowcount == 1)


def test_writers_of_private_buckets_tell_nobody(
    admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket()
    rows.execute("listen basalt_storage")
    admin.post(f"/object/{bucket}/x", content=b"one").raise_for_status()
    admin.put(f"/object/{bucket}/x", content=b"two").raise_for_status()
    admin.delete(f"/object/{bucket}/x").raise_for_status()
    assert list(rows.notifies(timeout=0.2)) == []
