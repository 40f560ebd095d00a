"""Lists of objects over S3."""

from typing import Any
from xml.etree import ElementTree

import pytest
from botocore.exceptions import ClientError

from tests.server import Server
from tests.storage.conftest import MakeBucket, token_of
from tests.storage.s3 import (
    error_of,
    s3_client,
    send,
    service_credentials,
    sign_request,
    user_credentials,
)

NAMES = ("a/1", "a/2", "a/b/3", "a0", "b", "c/1", "c/2", "d e/f&g", "z")


@pytest.fixture(scope="module")
def bucket(s3: Any, make_bucket: MakeBucket) -> str:
    return fill(s3, make_bucket(), NAMES)


def fill(s3: Any, bucket: str, names: tuple[str, ...]) -> str:
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
    return bucket


def entries(page: Any) -> list[str]:
    """Keys and common prefixes as they sort."""
    keys = [entry["Key"] for entry in page.get("Contents", [])]
    return sorted([*keys, *(entry["Prefix"] for entry in page.get("CommonPrefixes", []))])


@pytest.mark.req("P8")
def test_an_entry_tells_what_the_object_is(s3: Any, bucket: str) -> None:
    page = s3.list_objects_v2(Bucket=bucket, Prefix="b")
    [entry] = page["Contents"]
    found = s3.head_object(Bucket=bucket, Key="b")
    assert (entry["Key"], entry["Size"], entry["StorageClass"]) == ("b", 1, "STANDARD")
    assert entry["ETag"] == found["ETag"]
    assert entry["LastModified"].replace(microsecond=0) == found["LastModified"]
    assert (page["Name"], page["Prefix"], page["KeyCount"], page["MaxKeys"]) == (bucket, "b", 1, 1000)
    assert page["IsTruncated"] is False


LISTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "everything": ({}, list(NAMES)),
    "a prefix": ({"Prefix": "a/"}, ["a/1", "a/2", "a/b/3"]),
    "a prefix within a name": ({"Prefix": "a"}, ["a/1", "a/2", "a/b/3", "a0"]),
    "nothing": ({"Prefix": "none/"}, []),
    "the top": ({"Delimiter": "/"}, ["a/", "a0", "b", "c/", "d e/", "z"]),
    "a folder": ({"Delimiter": "/", "Prefix": "a/"}, ["a/1", "a/2", "a/b/"]),
    "another delimiter": ({"Delimiter": "0"}, ["a/1", "a/2", "a/b/3", "a0", "b", *NAMES[5:]]),
    "a blank as delimiter": ({"Delimiter": " ", "Prefix": "d"}, ["d "]),
    "patterns are names": ({"Prefix": "%"}, []),
    "after a name": ({"StartAfter": "b"}, ["c/1", "c/2", "d e/f&g", "z"]),
    "after a name that is none": ({"StartAfter": "c/15"}, ["c/2", "d e/f&g", "z"]),
    "after a name in a folder": ({"StartAfter": "c/1", "Delimiter": "/"}, ["c/", "d e/", "z"]),
    "after the last name of a folder": ({"StartAfter": "c/2", "Delimiter": "/"}, ["d e/", "z"]),
    "after a name before the prefix": ({"StartAfter": "a", "Prefix": "c/"}, ["c/1", "c/2"]),
    "after everything": ({"StartAfter": "zz"}, []),
    "no keys": ({"MaxKeys": 0}, []),
}


@pytest.mark.req("P8")
@pytest.mark.parametrize("name", LISTS)
def test_a_list_holds_what_was_asked_for(s3: Any, bucket: str, name: str) -> None:
    asked, expected = LISTS[name]
    page = s3.list_objects_v2(Bucket=bucket, **asked)
    assert entries(page) == expected
    assert (page["IsTruncated"], page["KeyCount"]) == (False, len(expected))


@pytest.mark.req("P8")
@pytest.mark.parametrize("delimiter", ["", "/"])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_pages_neither_skip_nor_repeat(s3: Any, bucket: str, delimiter: str, size: int) -> None:
    pages = list(
        s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Delimiter=delimiter, PaginationConfig={"PageSize": size}
        )
    )
    seen = [entry for page in pages for entry in entries(page)]
    assert seen == LISTS["the top" if delimiter else "everything"][1]
    assert all(page["KeyCount"] <= size for page in pages)


@pytest.mark.req("P8")
@pytest.mark.parametrize("delimiter", ["", "/"])
def test_the_first_version_pages_by_markers(s3: Any, bucket: str, delimiter: str) -> None:
    pages = list(
        s3.get_paginator("list_objects").paginate(
            Bucket=bucket, Delimiter=delimiter, PaginationConfig={"PageSize": 2}
        )
    )
    seen = [entry for page in pages for entry in entries(page)]
    assert seen == LISTS["the top" if delimiter else "everything"][1]
    assert all(("NextMarker" in page) == (page["IsTruncated"] and bool(delimiter)) for page in pages)


@pytest.mark.req("P8")
def test_empty_segments_are_folders_of_their_own(s3: Any, make_bucket: MakeBucket) -> None:
    bucket = fill(s3, make_bucket(), ("a//b", "a//c/d", "a/e", "/f"))
    assert entries(s3.list_objects_v2(Bucket=bucket, Delimiter="/")) == ["/", "a/"]
    assert entries(s3.list_objects_v2(Bucket=bucket, Delimiter="/", Prefix="a/")) == ["a//", "a/e"]
    assert entries(s3.list_objects_v2(Bucket=bucket, Delimiter="/", Prefix="a//")) == ["a//b", "a//c/"]
    first = s3.list_objects_v2(Bucket=bucket, Delimiter="/", Prefix="a/", MaxKeys=1)
    assert entries(first) == ["a//"]
    rest = s3.list_objects_v2(
        Bucket=bucket, Delimiter="/", Prefix="a/", ContinuationToken=first["NextContinuationToken"]
    )
    assert entries(rest) == ["a/e"]


@pytest.mark.req("P8")
def test_a_delimiter_may_have_several_characters(s3: Any, make_bucket: MakeBucket) -> None:
    bucket = fill(s3, make_bucket(), ("a--b", "a--c", "a-d", "e"))
    assert entries(s3.list_objects_v2(Bucket=bucket, Delimiter="--")) == ["a--", "a-d", "e"]


@pytest.mark.req("P8")
@pytest.mark.parametrize("version", ["", "2"])
def test_names_are_encoded_when_asked_for(depot: Server, bucket: str, version: str) -> None:
    query = {"prefix": "d e/", "delimiter": "/", "encoding-type": "url"}
    if version:
        query["list-type"] = version
    answer = send(sign_request(depot, service_credentials(depot), "GET", f"/{bucket}", query=query))
    assert "<Prefix>d%20e/</Prefix>" in answer.text
    assert "<Key>d%20e/f%26g</Key>" in answer.text
    assert "<EncodingType>url</EncodingType>" in answer.text


@pytest.mark.req("P8")
def test_a_name_that_has_no_place_in_xml_does_not_break_it(
    depot: Server, make_bucket: MakeBucket, rows: Any
) -> None:
    bucket = make_bucket()
    rows.execute("insert into storage.objects (bucket_id, name) values (%s, %s)", [bucket, "a\x01b<&>"])
    answer = send(sign_request(depot, service_credentials(depot), "GET", f"/{bucket}"))
    assert "a\ufffdb<&>" in "".join(ElementTree.fromstring(answer.text).itertext())


@pytest.mark.req("P8")
@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"ContinuationToken": "nonsense"}, "InvalidParameter"),
        ({"ContinuationToken": "eDp6"}, "InvalidParameter"),
        ({"MaxKeys": -1}, "InvalidParameter"),
        ({"Bucket": "nosuch"}, "NoSuchBucket"),
    ],
)
def test_a_list_that_cannot_be_is_refused(s3: Any, bucket: str, asked: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as refused:
        s3.list_objects_v2(**{"Bucket": bucket, **asked})
    assert error_of(refused.value)[1] == code


@pytest.mark.req("P8")
def test_a_user_sees_their_own_objects(depot: Server, s3: Any, make_bucket: MakeBucket) -> None:
    bucket = fill(s3, make_bucket("own"), ("other/a", "user-1/a", "user-1/b/c", "user-2/a"))
    # The policies ask for a UUID only where they compare.
    user = "5a1e2b52-5d4b-4f4c-9a43-3c9fd9a1b6d1"
    fill(s3, bucket, (f"{user}/a", f"{user}/b/c"))
    with s3_client(depot, user_credentials(depot, token_of(depot, user))) as client:
        assert entries(client.list_objects_v2(Bucket=bucket)) == [f"{user}/a", f"{user}/b/c"]
        assert entries(client.list_objects_v2(Bucket=bucket, Delimiter="/")) == [f"{user}/"]
        assert entries(client.list_objects_v2(Bucket=bucket, Delimiter="/", Prefix="other/")) == []
