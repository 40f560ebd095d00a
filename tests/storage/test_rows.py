"""Copy, move and delete over the JSON API."""

import base64
from uuid import uuid4

import httpx2
import psycopg
import pytest

from tests.server import Server
from tests.storage.conftest import MakeBucket, storage_client, token_of

pytestmark = pytest.mark.req("P8")


def row_of(rows: psycopg.Connection, bucket: str, name: str) -> dict[str, object]:
    found = rows.execute(
        "select to_jsonb(o) from storage.objects as o where bucket_id = %s and name = %s", [bucket, name]
    ).fetchone()
    assert found is not None
    row: dict[str, object] = found[0]
    return row


def copy(client: httpx2.Client, bucket: str, source: str, target: str, **more: object) -> httpx2.Response:
    headers: dict[str, str] = more.pop("headers", {})  # type: ignore[assignment]
    body = {"bucketId": bucket, "sourceKey": source, "destinationKey": target, **more}
    return client.post("/object/copy", json=body, headers=headers)


def move(client: httpx2.Client, bucket: str, source: str, target: str, **more: object) -> httpx2.Response:
    return client.post(
        "/object/move", json={"bucketId": bucket, "sourceKey": source, "destinationKey": target, **more}
    )


def store(client: httpx2.Client, bucket: str, name: str, content: bytes = b"hello") -> None:
    metadata = base64.b64encode(b'{"a":"b"}').decode()
    headers = {"content-type": "text/plain", "cache-control": "max-age=60", "x-metadata": metadata}
    client.post(f"/object/{bucket}/{name}", content=content, headers=headers).raise_for_status()


def test_a_copy_has_the_same_bytes_and_metadata(
    admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket()
    store(admin, bucket, "a")
    answer = copy(admin, bucket, "a", "dir/b")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["Key"], body["name"], body["bucket_id"]) == (f"{bucket}/dir/b", "dir/b", bucket)
    assert body["Id"] == body["id"] == row_of(rows, bucket, "dir/b")["id"]
    assert body["created_at"].endswith("Z")
    assert admin.get(f"/object/{bucket}/dir/b").content == b"hello"
    source, target = row_of(rows, bucket, "a"), row_of(rows, bucket, "dir/b")
    assert target["user_metadata"] == {"a": "b"}
    assert source["version"] != target["version"]
    for key in ("eTag", "mimetype", "cacheControl", "size"):
        assert source["metadata"][key] == target["metadata"][key]  # type: ignore[index]


def test_a_copy_outlives_its_source(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    store(admin, bucket, "a")
    copy(admin, bucket, "a", "b")
    admin.put(f"/object/{bucket}/a", content=b"other")
    assert admin.delete(f"/object/{bucket}/a").status_code == 200
    assert admin.get(f"/object/{bucket}/b").content == b"hello"


def test_a_copy_replaces_only_with_upsert(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    store(admin, bucket, "a", b"new")
    store(admin, bucket, "b", b"old")
    assert copy(admin, bucket, "a", "b").json()["code"] == "KeyAlreadyExists"
    assert admin.get(f"/object/{bucket}/b").content == b"old"
    assert copy(admin, bucket, "a", "b", headers={"x-upsert": "true"}).status_code == 200
    assert admin.get(f"/object/{bucket}/b").content == b"new"


def test_a_copy_may_have_metadata_of_its_own(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    store(admin, bucket, "a")
    change = {"metadata": {"cacheControl": "max-age=5", "mimetype": "text/css"}, "copyMetadata": False}
    headers = {"x-upsert": "true", "x-metadata": base64.b64encode(b'{"c":"d"}').decode()}
    assert copy(admin, bucket, "a", "a", headers=headers, **change).status_code == 200
    info = admin.get(f"/object/info/{bucket}/a").json()
    assert (info["cache_control"], info["content_type"], info["metadata"]) == (
        "max-age=5",
        "text/css",
        {"c": "d"},
    )
    assert admin.get(f"/object/{bucket}/a").content == b"hello"


def test_a_copy_into_another_bucket_keeps_its_limits(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket, small, images = (
        make_bucket(),
        make_bucket(file_size_limit=3),
        make_bucket(allowed_mime_types=["image/*"]),
    )
    store(admin, bucket, "a")
    assert copy(admin, bucket, "a", "a", destinationBucket=small).json()["code"] == "EntityTooLarge"
    assert copy(admin, bucket, "a", "a", destinationBucket=images).json()["code"] == "InvalidMimeType"
    assert copy(admin, bucket, "a", "a", destinationBucket="nosuch").json()["code"] == "NoSuchBucket"
    assert move(admin, bucket, "a", "a", destinationBucket=small).json()["code"] == "EntityTooLarge"
    assert move(admin, bucket, "a", "a", destinationBucket=images).json()["code"] == "InvalidMimeType"
    assert move(admin, bucket, "a", "a", destinationBucket="nosuch").json()["code"] == "NoSuchBucket"
    other = make_bucket()
    assert copy(admin, bucket, "a", "b", destinationBucket=other).json()["Key"] == f"{other}/b"
    assert move(admin, bucket, "a", "c", destinationBucket=other).json() == {"message": "Successfully moved"}
    assert admin.get(f"/object/{other}/c").content == b"hello"
    assert admin.get(f"/object/{bucket}/a").json()["code"] == "NoSuchKey"


def test_a_move_keeps_the_row(
    depot: Server, admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket("open")
    store(admin, bucket, "a")
    before = row_of(rows, bucket, "a")
    mover = str(uuid4())
    with storage_client(depot, token_of(depot, mover)) as client:
        assert move(client, bucket, "a", "b/c").json() == {"message": "Successfully moved"}
    after = row_of(rows, bucket, "b/c")
    assert (after["id"], after["metadata"]) == (before["id"], before["metadata"])
    assert after["version"] != before["version"]
    assert after["owner_id"] == after["owner"] == mover
    assert admin.get(f"/object/{bucket}/b/c").content == b"hello"
    assert admin.get(f"/object/{bucket}/a").json()["code"] == "NoSuchKey"


def test_a_move_replaces_nothing(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    store(admin, bucket, "a", b"one")
    store(admin, bucket, "b", b"two")
    refused = move(admin, bucket, "a", "b").json()
    assert (refused["statusCode"], refused["code"]) == ("409", "ResourceAlreadyExists")
    assert move(admin, bucket, "nosuch", "c").json()["code"] == "NoSuchKey"
    assert admin.get(f"/object/{bucket}/a").content == b"one"
    assert admin.get(f"/object/{bucket}/b").content == b"two"


def test_what_copies_and_moves_need(
    depot: Server, admin: httpx2.Client, anon: httpx2.Client, make_bucket: MakeBucket
) -> None:
    shown, own = make_bucket("shown"), make_bucket("own")
    store(admin, shown, "a")
    user = str(uuid4())
    assert copy(anon, shown, "a", "b").json()["code"] == "AccessDenied"
    assert move(anon, shown, "a", "b").json()["code"] == "AccessDenied"
    with storage_client(depot, token_of(depot, user)) as client:
        assert copy(client, shown, "a", f"{user}/b", destinationBucket=own).status_code == 200
        assert copy(client, shown, "a", "b", destinationBucket=own).json()["code"] == "AccessDenied"
        assert move(client, own, f"{user}/b", f"{uuid4()}/b").json()["code"] == "AccessDenied"
        assert move(client, own, f"{user}/b", f"{user}/c").status_code == 200
    with storage_client(depot, token_of(depot)) as stranger:
        assert copy(stranger, own, f"{user}/c", f"{user}/d").json()["code"] == "NoSuchKey"
        assert move(stranger, own, f"{user}/c", f"{user}/d").json()["code"] == "NoSuchKey"


@pytest.mark.parametrize("missing", ["bucketId", "sourceKey", "destinationKey"])
def test_what_is_missing_is_named(admin: httpx2.Client, missing: str) -> None:
    body = {"bucketId": "b", "sourceKey": "a", "destinationKey": "c"}
    del body[missing]
    for path in ("/object/copy", "/object/move"):
        answer = admin.post(path, json=body).json()
        assert answer["message"] == f"body must have required property '{missing}'"


@pytest.mark.parametrize(
    ("content", "headers", "message"),
    [
        (b"{", {"content-type": "application/json"}, "body is not valid JSON"),
        (b"[]", {"content-type": "application/json"}, "body must be object"),
        (b"", {}, "body must be object"),
        (b"{}", {"content-type": "text/plain"}, "Unsupported Media Type: text/plain"),
    ],
)
def test_a_body_that_is_none(
    admin: httpx2.Client, content: bytes, headers: dict[str, str], message: str
) -> None:
    answer = admin.post("/object/copy", content=content, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(message)


def test_deleting_tells_what_it_could_not(
    depot: Server, anon: httpx2.Client, admin: httpx2.Client, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket("shown")
    store(admin, bucket, "a")
    refused = anon.delete(f"/object/{bucket}/a").json()
    assert (refused["code"], refused["message"]) == ("AccessDenied", "Access denied")
    assert anon.delete(f"/object/{bucket}/nosuch").json()["code"] == "NoSuchKey"
    assert admin.delete(f"/object/{bucket}/a").json() == {"message": "Successfully deleted"}
    assert admin.delete(f"/object/{bucket}/a").json()["code"] == "NoSuchKey"


def test_many_are_deleted_as_far_as_they_may(
    depot: Server, admin: httpx2.Client, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket("own")
    user = str(uuid4())
    for name in (f"{user}/a", f"{user}/b%20c", "theirs"):
        store(admin, bucket, name)
    names = [f"{user}/a", f"{user}/b c", "theirs", "nosuch"]
    with storage_client(depot, token_of(depot, user)) as client:
        gone = client.request("DELETE", f"/object/{bucket}", json={"prefixes": names}).json()
    assert sorted(row["name"] for row in gone) == [f"{user}/a", f"{user}/b c"]
    assert list(gone[0]) == [
        "name",
        "bucket_id",
        "owner",
        "owner_id",
        "version",
        "id",
        "updated_at",
        "created_at",
        "last_accessed_at",
        "metadata",
        "user_metadata",
    ]
    assert admin.get(f"/object/{bucket}/theirs").content == b"hello"
    few = admin.request("DELETE", f"/object/{bucket}", json={"prefixes": []}).json()
    assert few["message"] == "body/prefixes must NOT have fewer than 1 items"


def test_a_version_that_is_not_the_objects_is_not_there(
    admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket()
    store(admin, bucket, "a")
    version = row_of(rows, bucket, "a")["version"]
    assert admin.get(f"/object/{bucket}/a", params={"versionId": version}).content == b"hello"
    assert admin.get(f"/object/{bucket}/a", params={"versionId": "other"}).json()["code"] == "NoSuchKey"

    def remove(version: object) -> list[dict[str, object]]:
        body = {"prefixes": [{"path": "a", "versionId": version}]}
        rows: list[dict[str, object]] = admin.request("DELETE", f"/object/{bucket}", json=body).json()
        return rows

    assert remove("other") == []
    assert [row["version"] for row in remove(version)] == [version]
    wrong = admin.request("DELETE", f"/object/{bucket}", json={"prefixes": ["a", 5]}).json()
    assert wrong["message"] == "body/prefixes/1 must be string"
