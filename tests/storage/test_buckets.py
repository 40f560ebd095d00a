"""Buckets over the JSON API."""

import httpx2
import psycopg
import pytest

from tests.storage.conftest import MakeBucket

pytestmark = pytest.mark.req("P8")


def test_a_bucket_as_it_was_made(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(public=True, file_size_limit="1mb", allowed_mime_types=["image/*"])
    found = admin.get(f"/bucket/{bucket}").json()
    assert list(found) == [
        "id",
        "name",
        "owner",
        "public",
        "file_size_limit",
        "allowed_mime_types",
        "created_at",
        "updated_at",
    ]
    assert (found["id"], found["name"], found["owner"], found["public"]) == (bucket, bucket, "", True)
    assert (found["file_size_limit"], found["allowed_mime_types"]) == (1_000_000, ["image/*"])
    assert len(found["created_at"]) == 24


@pytest.mark.parametrize(
    ("given", "kept"),
    [(5, 5), ("7", 7), ("20MB", 20_000_000), ("1.5kb", 1500), ("10 b", 10), (None, None)],
)
def test_a_size_limit_in_any_unit(
    admin: httpx2.Client, make_bucket: MakeBucket, given: object, kept: int | None
) -> None:
    bucket = make_bucket(file_size_limit=given)
    assert admin.get(f"/bucket/{bucket}").json()["file_size_limit"] == kept


def test_what_a_bucket_cannot_be(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    cases = [
        ({}, "400", "InvalidRequest"),
        ({"name": 5}, "400", "InvalidRequest"),
        ({"name": bucket}, "409", "BucketAlreadyExists"),
        ({"name": "x", "file_size_limit": "100gb"}, "413", "EntityTooLarge"),
        ({"name": "x", "file_size_limit": "much"}, "400", "InvalidRequest"),
        ({"name": "x", "file_size_limit": -1}, "400", "InvalidRequest"),
        ({"name": "x", "allowed_mime_types": ["nonsense"]}, "415", "InvalidMimeType"),
        ({"name": "x", "allowed_mime_types": [5]}, "400", "InvalidRequest"),
        ({"name": "x", "public": "yes"}, "400", "InvalidRequest"),
        ({"name": "x", "type": "ANALYTICS"}, "400", "FeatureNotEnabled"),
        ({"name": "x", "versioning_status": "ENABLED"}, "400", "FeatureNotEnabled"),
        ({"name": "x", "type": "OTHER"}, "400", "InvalidRequest"),
    ]
    for body, status, code in cases:
        answer = admin.post("/bucket", json=body)
        assert answer.status_code == 400, body
        assert (answer.json()["statusCode"], answer.json()["code"]) == (status, code), body
    assert admin.get("/bucket/x").json()["code"] == "NoSuchBucket"


@pytest.mark.parametrize(
    "name",
    ["", " x", "x ", "a/b", "a\\b", "..", ".", "é", "a\nb", "a\0b", "x" * 101, "a%b", "a#b", "a[b", "a~"],
)
def test_a_name_that_is_none(admin: httpx2.Client, name: str) -> None:
    answer = admin.post("/bucket", json={"name": name})
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidBucketName")


def test_an_update_changes_what_it_names(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(file_size_limit=5, allowed_mime_types=["text/plain"])
    for change, expected in (
        ({"public": True}, (True, 5, ["text/plain"])),
        ({"file_size_limit": None}, (True, None, ["text/plain"])),
        ({"allowed_mime_types": None, "public": False}, (False, None, None)),
        ({"file_size_limit": "2kb", "allowed_mime_types": ["a/*"]}, (False, 2000, ["a/*"])),
    ):
        answer = admin.put(f"/bucket/{bucket}", json=change)
        assert answer.json() == {"message": "Successfully updated"}
        found = admin.get(f"/bucket/{bucket}").json()
        assert (found["public"], found["file_size_limit"], found["allowed_mime_types"]) == expected
    assert admin.put("/bucket/nosuch", json={"public": True}).json()["code"] == "NoSuchBucket"


def test_buckets_are_listed_sorted_and_searched(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    names = sorted([make_bucket(f"zzlist{letter}_x") for letter in "abc"])

    def listed(**query: object) -> list[str]:
        return [bucket["name"] for bucket in admin.get("/bucket", params=query).json()]

    assert listed(search="ZZLIST") == names
    assert listed(search="zzlist", sortColumn="name", sortOrder="desc") == names[::-1]
    assert listed(search="zzlist", sortColumn="created_at", limit=2) == names[:2]
    assert listed(search="zzlist", limit=1, offset=1) == names[1:2]
    assert listed(search="zzlistaxx") == []
    assert listed(search="zzl%") == []
    whole = admin.get("/bucket", params={"search": "zzlista"}).json()
    assert list(whole[0])[:5] == ["id", "name", "owner", "public", "type"]
    assert whole[0]["type"] == "STANDARD"
    for wrong in ({"limit": 0}, {"limit": "x"}, {"offset": -1}, {"sortColumn": "owner"}, {"sortOrder": "up"}):
        assert admin.get("/bucket", params=wrong).json()["code"] == "InvalidRequest"


def test_only_an_empty_bucket_is_deleted(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    for name in ("a", "b/c"):
        admin.post(f"/object/{bucket}/{name}", content=b"x").raise_for_status()
    refused = admin.delete(f"/bucket/{bucket}").json()
    assert (refused["statusCode"], refused["code"]) == ("409", "ResourceNotEmpty")
    emptied = admin.post(f"/bucket/{bucket}/empty")
    assert emptied.json() == {"message": "Empty bucket has been queued. Completion may take up to an hour."}
    assert admin.get(f"/object/info/{bucket}/a").json()["code"] == "NoSuchKey"
    assert admin.delete(f"/bucket/{bucket}").json() == {"message": "Successfully deleted"}
    assert admin.delete(f"/bucket/{bucket}").json()["code"] == "NoSuchBucket"
    assert admin.post(f"/bucket/{bucket}/empty").json()["code"] == "NoSuchBucket"


def test_uploads_under_way_do_not_keep_a_bucket(
    admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket()
    rows.execute(
        "insert into storage.s3_multipart_uploads (id, upload_signature, bucket_id, key, version)"
        " values (%s, '', %s, 'k', 'v')",
        [bucket, bucket],
    )
    assert admin.delete(f"/bucket/{bucket}").status_code == 200


def test_what_is_switched_off_says_so(admin: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    for method in ("GET", "PUT", "DELETE"):
        answer = admin.request(method, f"/bucket/{bucket}/lifecycle").json()
        assert answer["code"] == "FeatureNotEnabled"
    assert admin.get("/bucket/nosuch/lifecycle").json()["code"] == "NoSuchBucket"
