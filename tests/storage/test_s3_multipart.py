"""Multipart uploads over S3."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.server import Server
from tests.storage.conftest import MakeBucket, stored_files, token_of, unfinished_files
from tests.storage.s3 import (
    error_of,
    s3_client,
    send,
    service_credentials,
    sign_request,
    user_credentials,
)
from tests.storage.test_s3_objects import refusal

Begin = Callable[..., dict[str, str]]


@pytest.fixture
def begin(depot: Server, s3: Any, make_bucket: MakeBucket) -> Iterator[Begin]:
    """A new upload, as boto3's arguments name it; what it has left in the end is taken away."""
    begun = []

    def begin_upload(bucket: str | None = None, key: str = "dir/large", **more: Any) -> dict[str, str]:
        named = {"Bucket": bucket or make_bucket(), "Key": key}
        begun.append({**named, "UploadId": s3.create_multipart_upload(**named, **more)["UploadId"]})
        return begun[-1]

    yield begin_upload
    for upload in begun:
        if files_of(depot, upload):
            s3.abort_multipart_upload(**upload)


def complete(client: Any, upload: dict[str, str], *parts: tuple[int, str]) -> Any:
    named = {"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in parts]}
    return client.complete_multipart_upload(**upload, MultipartUpload=named)


def put(client: Any, upload: dict[str, str], number: int, body: bytes) -> tuple[int, str]:
    return number, client.upload_part(**upload, PartNumber=number, Body=body)["ETag"]


def content(client: Any, upload: dict[str, str]) -> bytes:
    body: bytes = client.get_object(Bucket=upload["Bucket"], Key=upload["Key"])["Body"].read()
    return body


def files_of(server: Server, upload: dict[str, str]) -> list[Any]:
    return [file for file in unfinished_files(server) if upload["UploadId"] in str(file)]


@pytest.mark.req("P8")
def test_parts_become_one_object(depot: Server, s3: Any, begin: Begin, rows: Any) -> None:
    upload = begin(ContentType="text/css", CacheControl="max-age=9", Metadata={"color": "blue"})
    second = put(s3, upload, 7, b"world")
    first = put(s3, upload, 2, b"hello ")
    assert first == (2, f'"{hashlib.md5(b"hello ").hexdigest()}"')
    done = complete(s3, upload, first, second)
    digests = hashlib.md5(b"hello ").digest() + hashlib.md5(b"world").digest()
    assert done["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-2"'
    assert (done["Bucket"], done["Key"]) == (upload["Bucket"], "dir/large")
    found = s3.head_object(Bucket=upload["Bucket"], Key="dir/large")
    assert (found["ContentType"], found["CacheControl"]) == ("text/css", "max-age=9")
    assert (found["Metadata"], found["ETag"], found["ContentLength"]) == ({"color": "blue"}, done["ETag"], 11)
    assert content(s3, upload) == b"hello world"
    assert not files_of(depot, upload)
    left = rows.execute("select from storage.s3_multipart_uploads where id = %s", [upload["UploadId"]])
    assert left.rowcount == 0


@pytest.mark.req("P8")
def test_nothing_is_there_before_the_upload_is_complete(s3: Any, begin: Begin) -> None:
    upload = begin()
    s3.put_object(Bucket=upload["Bucket"], Key=upload["Key"], Body=b"old")
    part = put(s3, upload, 1, b"new")
    assert content(s3, upload) == b"old"
    complete(s3, upload, part)
    assert content(s3, upload) == b"new"


@pytest.mark.req("P8")
def test_boto3_uploads_large_files_in_parts(s3: Any, make_bucket: MakeBucket, tmp_path: Any) -> None:
    bucket = make_bucket()
    file = tmp_path / "large"
    file.write_bytes(b"0123456789" * 1_200_000)
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    s3.upload_file(str(file), bucket, "large", Config=config)
    assert s3.head_object(Bucket=bucket, Key="large")["ETag"].endswith('-3"')
    s3.download_file(bucket, "large", str(tmp_path / "back"), Config=config)
    assert (tmp_path / "back").read_bytes() == file.read_bytes()


@pytest.mark.req("P8")
def test_a_part_that_comes_again_replaces_the_earlier_one(s3: Any, begin: Begin) -> None:
    upload = begin()
    old = put(s3, upload, 1, b"old")
    new = put(s3, upload, 1, b"newer")
    [listed] = s3.list_parts(**upload)["Parts"]
    assert (listed["ETag"], listed["Size"]) == (new[1], 5)
    with pytest.raises(ClientError) as refused:
        complete(s3, upload, old)
    assert error_of(refused.value) == (400, "InvalidChecksum")
    complete(s3, upload, new)
    assert content(s3, upload) == b"newer"


@pytest.mark.req("P8")
def test_etags_may_come_without_quotes_and_no_parts_are_all_parts(s3: Any, begin: Begin) -> None:
    upload = begin()
    number, etag = put(s3, upload, 1, b"a")
    put(s3, upload, 2, b"b")
    complete(s3, upload, (number, etag.strip('"')))
    assert content(s3, upload) == b"a"
    upload = begin()
    put(s3, upload, 2, b"b")
    put(s3, upload, 1, b"a")
    s3.complete_multipart_upload(**upload)
    assert content(s3, upload) == b"ab"


WRONG = {
    "another etag": ([(1, '"0"')], "InvalidChecksum"),
    "a part that is not there": ([(1, "1"), (3, "x")], "InvalidPart"),
    "not in order": ([(2, "2"), (1, "1")], "InvalidPartOrder"),
    "twice": ([(1, "1"), (1, "1")], "InvalidPartOrder"),
    "a number out of range": ([(10001, "x")], "InvalidRequest"),
    "number zero": ([(0, "x")], "InvalidRequest"),
}


@pytest.mark.req("P8")
@pytest.mark.parametrize("name", WRONG)
def test_parts_that_are_named_wrongly_leave_the_upload_as_it_was(s3: Any, begin: Begin, name: str) -> None:
    asked, code = WRONG[name]
    upload = begin()
    etags = {"1": put(s3, upload, 1, b"a")[1], "2": put(s3, upload, 2, b"b")[1]}
    with pytest.raises(ClientError) as refused:
        complete(s3, upload, *((number, etags.get(etag, etag)) for number, etag in asked))
    assert error_of(refused.value) == (400, code)
    assert refusal(s3.head_object, Bucket=upload["Bucket"], Key=upload["Key"])[0] == 404
    complete(s3, upload, (1, etags["1"]), (2, etags["2"]))
    assert content(s3, upload) == b"ab"


@pytest.mark.req("P8")
@pytest.mark.parametrize(
    "body",
    [
        b"<CompleteMultipartUpload><Part></CompleteMultipartUpload>",
        b"<Other/>",
        b'{"Parts": []}',
        b"<CompleteMultipartUpload><Part><PartNumber>   </PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>",
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
    ],
)
def test_a_completion_that_is_none_is_refused(depot: Server, s3: Any, begin: Begin, body: bytes) -> None:
    upload = begin()
    put(s3, upload, 1, b"a")
    path, query = f"/{upload['Bucket']}/{upload['Key']}", {"uploadId": upload["UploadId"]}
    answer = send(sign_request(depot, service_credentials(depot), "POST", path, query=query, body=body))
    assert (answer.status, answer.code) in ((400, "MalformedXML"), (400, "InvalidRequest"))
    assert len(s3.list_parts(**upload)["Parts"]) == 1


@pytest.mark.req("P8")
def test_an_upload_without_parts_is_not_completed(s3: Any, begin: Begin) -> None:
    assert refusal(s3.complete_multipart_upload, **begin()) == (400, "InvalidRequest")


@pytest.mark.req("P8")
def test_an_aborted_upload_is_gone_with_its_parts(depot: Server, s3: Any, begin: Begin) -> None:
    upload = begin()
    part = put(s3, upload, 1, b"a")
    assert files_of(depot, upload)
    s3.abort_multipart_upload(**upload)
    assert not files_of(depot, upload)
    for method, more in (
        (s3.upload_part, {"PartNumber": 1, "Body": b"a"}),
        (s3.list_parts, {}),
        (s3.abort_multipart_upload, {}),
        (s3.complete_multipart_upload, {"MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": part[1]}]}}),
    ):
        assert refusal(method, **upload, **more) == (404, "NoSuchUpload")
    assert not files_of(depot, upload)


@pytest.mark.req("P8")
@pytest.mark.parametrize(
    "upload_id",
    [
        "nonsense",
        "../../objects",
        "d94ef890-4558-4203-a767-65609103f871",
        "9E427D70-D6E9-4AA8-BE4B-664863F33F0B",
        "a/b",
    ],
)
def test_an_upload_that_is_none_is_not_found(s3: Any, make_bucket: MakeBucket, upload_id: str) -> None:
    named = {"Bucket": make_bucket(), "Key": "a", "UploadId": upload_id}
    assert refusal(s3.list_parts, **named) == (404, "NoSuchUpload")
    assert refusal(s3.upload_part, **named, PartNumber=1, Body=b"a") == (404, "NoSuchUpload")


@pytest.mark.req("P8")
def test_an_upload_belongs_to_its_key(s3: Any, begin: Begin, make_bucket: MakeBucket) -> None:
    upload = begin()
    for other in ({"Key": "other"}, {"Bucket": make_bucket()}):
        named = {**upload, **other}
        assert refusal(s3.upload_part, **named, PartNumber=1, Body=b"a") == (404, "NoSuchUpload")
        assert refusal(s3.abort_multipart_upload, **named) == (404, "NoSuchUpload")


@pytest.mark.req("P8")
@pytest.mark.parametrize("number", ["0", "10001", "-1", "x", "1e3", ""])
def test_part_numbers_go_from_one_to_ten_thousand(depot: Server, begin: Begin, number: str) -> None:
    upload = begin()
    request = sign_request(
        depot,
        service_credentials(depot),
        "PUT",
        f"/{upload['Bucket']}/{upload['Key']}",
        query={"partNumber": number, "uploadId": upload["UploadId"]},
    )
    assert send(request, body=b"").code == "InvalidRequest"


class TestLimits:
    @pytest.mark.req("P8")
    def test_the_sum_of_the_parts_keeps_to_the_buckets_limit(
        self, depot: Server, s3: Any, begin: Begin, make_bucket: MakeBucket
    ) -> None:
        upload = begin(make_bucket(file_size_limit=10))
        assert refusal(s3.upload_part, **upload, PartNumber=1, Body=b"x" * 11) == (413, "EntityTooLarge")
        first = put(s3, upload, 1, b"x" * 6)
        assert refusal(s3.upload_part, **upload, PartNumber=2, Body=b"x" * 5) == (413, "EntityTooLarge")
        assert len(files_of(depot, upload)) == 1
        first = put(s3, upload, 1, b"x" * 5)  # in the place of the earlier one
        second = put(s3, upload, 2, b"y" * 5)
        complete(s3, upload, first, second)
        assert content(s3, upload) == b"x" * 5 + b"y" * 5

    @pytest.mark.req("P8")
    def test_parts_that_come_at_once_do_not_exceed_it_together(
        self, depot: Server, s3: Any, begin: Begin, make_bucket: MakeBucket, rows: Any
    ) -> None:
        upload = begin(make_bucket(file_size_limit=100))

        def try_part(number: int) -> int:
            try:
                put(s3, upload, number, b"x" * 30)
            except ClientError as error:
                return error_of(error)[0]
            return 200

        with ThreadPoolExecutor(8) as threads:
            outcomes = list(threads.map(try_part, range(1, 9)))
        assert sorted(outcomes) == [200] * 3 + [413] * 5
        found = rows.execute(
            "select in_progress_size from storage.s3_multipart_uploads where id = %s", [upload["UploadId"]]
        )
        assert found.fetchone() == (90,)

    @pytest.mark.req("P8")
    def test_a_limit_that_was_lowered_holds_at_completion(
        self, s3: Any, begin: Begin, make_bucket: MakeBucket, rows: Any, depot: Server
    ) -> None:
        upload = begin(make_bucket())
        part = put(s3, upload, 1, b"x" * 20)
        rows.execute("update storage.buckets set file_size_limit = 10 where id = %s", [upload["Bucket"]])
        before = stored_files(depot)
        with pytest.raises(ClientError) as refused:
            complete(s3, upload, part)
        assert error_of(refused.value) == (413, "EntityTooLarge")
        assert stored_files(depot) == before


@pytest.mark.req("P8")
def test_of_several_completions_at_once_one_wins(depot: Server, s3: Any, begin: Begin) -> None:
    upload = begin()
    parts = [put(s3, upload, number, b"%d" % number * 1000) for number in range(1, 4)]
    before = stored_files(depot)

    def try_completion(_: int) -> str:
        try:
            complete(s3, upload, *parts)
        except ClientError as error:
            return error_of(error)[1]
        return "won"

    with ThreadPoolExecutor(6) as threads:
        outcomes = list(threads.map(try_completion, range(6)))
    assert sorted(outcomes) == ["NoSuchUpload"] * 5 + ["won"]
    assert content(s3, upload) == b"1" * 1000 + b"2" * 1000 + b"3" * 1000
    assert len(stored_files(depot) - before) == 1
    assert not files_of(depot, upload)


@pytest.mark.req("P8")
def test_abort_and_completion_at_once_leave_nothing_torn(depot: Server, s3: Any, begin: Begin) -> None:
    for _ in range(5):
        upload = begin()
        part = put(s3, upload, 1, b"x" * 1000)
        before = stored_files(depot)
        calls = [lambda upload=upload: s3.abort_multipart_upload(**upload)] * 2
        calls.append(lambda upload=upload, part=part: complete(s3, upload, part))

        def outcome_of(call: Callable[[], Any]) -> str:
            try:
                call()
            except ClientError as error:
                return error_of(error)[1]
            return "won"

        with ThreadPoolExecutor(3) as threads:
            outcomes = list(threads.map(outcome_of, calls))
        assert sorted(outcomes) == ["NoSuchUpload", "NoSuchUpload", "won"]
        has_won = outcomes[2] == "won"
        assert len(stored_files(depot) - before) == has_won
        assert not files_of(depot, upload)
        if has_won:
            assert content(s3, upload) == b"x" * 1000
        else:
            assert refusal(s3.head_object, Bucket=upload["Bucket"], Key=upload["Key"])[0] == 404


class TestCopiedParts:
    @pytest.mark.req("P8")
    @pytest.mark.parametrize(
        ("asked", "copied"),
        [
            ({}, b"0123456789"),
            ({"CopySourceRange": "bytes=0-0"}, b"0"),
            ({"CopySourceRange": "bytes=9-9"}, b"9"),
            ({"CopySourceRange": "bytes=2-5"}, b"2345"),
        ],
    )
    def test_a_part_is_a_range_of_an_object(
        self, s3: Any, begin: Begin, asked: dict[str, str], copied: bytes
    ) -> None:
        upload = begin()
        source = {"Bucket": upload["Bucket"], "Key": "source"}
        s3.put_object(**source, Body=b"0123456789")
        part = s3.upload_part_copy(**upload, PartNumber=1, CopySource=source, **asked)["CopyPartResult"]
        complete(s3, upload, (1, part["ETag"]))
        assert content(s3, upload) == copied

    @pytest.mark.req("P8")
    @pytest.mark.parametrize(
        "asked", ["bytes=5-10", "bytes=3-2", "bytes=-3", "bytes=3-", "0-3", "bytes=0-1,2-3"]
    )
    def test_a_range_outside_the_source_is_refused(self, s3: Any, begin: Begin, asked: str) -> None:
        upload = begin()
        source = {"Bucket": upload["Bucket"], "Key": "source"}
        s3.put_object(**source, Body=b"0123456789")
        outcome = refusal(
            s3.upload_part_copy, **upload, PartNumber=1, CopySource=source, CopySourceRange=asked
        )
        assert outcome == (400, "InvalidRange")

    @pytest.mark.req("P8")
    def test_the_source_must_be_the_callers_to_read(
        self, depot: Server, s3: Any, make_bucket: MakeBucket
    ) -> None:
        source = {"Bucket": make_bucket(), "Key": "secret"}
        s3.put_object(**source, Body=b"secret")
        with s3_client(depot, user_credentials(depot, token_of(depot))) as client:
            named = {"Bucket": make_bucket("open"), "Key": "a"}
            upload_id = client.create_multipart_upload(**named)["UploadId"]
            copy = {**named, "UploadId": upload_id, "PartNumber": 1, "CopySource": source}
            assert refusal(client.upload_part_copy, **copy) == (404, "NoSuchKey")


@pytest.mark.req("P8")
def test_somebody_elses_upload_is_nobody_elses_to_go_on_with(depot: Server, make_bucket: MakeBucket) -> None:
    bucket, owner = make_bucket("own"), str(uuid4())
    named = {"Bucket": bucket, "Key": f"{owner}/a"}
    with (
        s3_client(depot, user_credentials(depot, token_of(depot, owner))) as mine,
        s3_client(depot, user_credentials(depot, token_of(depot))) as foreign,
    ):
        assert refusal(foreign.create_multipart_upload, **named) == (403, "AccessDenied")
        upload = {**named, "UploadId": mine.create_multipart_upload(**named)["UploadId"]}
        put(mine, upload, 1, b"mine")
        assert refusal(foreign.upload_part, **upload, PartNumber=1, Body=b"x") == (403, "AccessDenied")
        assert refusal(foreign.complete_multipart_upload, **upload) == (403, "AccessDenied")
        assert refusal(foreign.abort_multipart_upload, **upload) == (403, "AccessDenied")
        assert foreign.list_parts(**upload).get("Parts") is None
        assert foreign.list_multipart_uploads(Bucket=bucket).get("Uploads") is None
        mine.complete_multipart_upload(**upload)
        assert content(mine, upload) == b"mine"


class TestLists:
    @pytest.mark.req("P8")
    def test_parts_are_listed_page_by_page(self, s3: Any, begin: Begin) -> None:
        upload = begin()
        for number in (1, 3, 10000):
            put(s3, upload, number, b"x")
        pages = list(s3.get_paginator("list_parts").paginate(**upload, PaginationConfig={"PageSize": 2}))
        assert [[part["PartNumber"] for part in page["Parts"]] for page in pages] == [[1, 3], [10000]]
        assert pages[0]["NextPartNumberMarker"] == 3

    @pytest.mark.req("P8")
    def test_uploads_are_listed_by_key_page_by_page(
        self, s3: Any, begin: Begin, make_bucket: MakeBucket
    ) -> None:
        bucket = make_bucket()
        begun = sorted(
            (upload["Key"], upload["UploadId"])
            for upload in (begin(bucket, key) for key in ("b", "a/2", "a/1", "a/1", "c_d", "cod"))
        )
        pages = s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=bucket, PaginationConfig={"PageSize": 2}
        )
        listed = [(upload["Key"], upload["UploadId"]) for page in pages for upload in page["Uploads"]]
        assert listed == begun
        page = s3.list_multipart_uploads(Bucket=bucket, Prefix="c_")
        assert [upload["Key"] for upload in page["Uploads"]] == ["c_d"]
        assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket, Prefix="_")

    @pytest.mark.req("P8")
    def test_uploads_of_a_level_are_listed(self, s3: Any, begin: Begin, make_bucket: MakeBucket) -> None:
        bucket = make_bucket()
        for key in ("b", "a/2", "a/1"):
            begin(bucket, key)
        first = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/", MaxUploads=1)
        assert [entry["Prefix"] for entry in first["CommonPrefixes"]] == ["a/"]
        assert "Uploads" not in first
        rest = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/", KeyMarker=first["NextKeyMarker"])
        assert [upload["Key"] for upload in rest["Uploads"]] == ["b"]
        assert "CommonPrefixes" not in rest


@pytest.mark.req("P8")
def test_a_bucket_goes_with_its_unfinished_uploads(s3: Any, begin: Begin) -> None:
    upload = begin()
    s3.delete_bucket(Bucket=upload["Bucket"])
    assert refusal(s3.list_parts, **upload) == (404, "NoSuchUpload")
