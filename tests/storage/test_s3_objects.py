"""Buckets and single objects over S3."""

from collections.abc import Mapping
from typing import Any

import httpx2
import pytest
from botocore.exceptions import ClientError

from tests.server import Server
from tests.storage.conftest import MakeBucket, token_of
from tests.storage.s3 import error_of, s3_client, send, service_credentials, sign_request, user_credentials


class TestBuckets:
    @pytest.mark.req("P8")
    def test_a_bucket_is_made_seen_and_deleted(self, s3: Any, admin: httpx2.Client) -> None:
        made = s3.create_bucket(Bucket="made-over-s3", ACL="public-read")
        assert made["Location"] == "/made-over-s3"
        assert admin.get("/bucket/made-over-s3").json()["public"] is True
        assert s3.head_bucket(Bucket="made-over-s3")["BucketRegion"] == "local"
        assert "made-over-s3" in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
        s3.put_object(Bucket="made-over-s3", Key="a", Body=b"")
        assert refusal(s3.delete_bucket, Bucket="made-over-s3") == (409, "ResourceNotEmpty")
        assert refusal(s3.create_bucket, Bucket="made-over-s3") == (409, "BucketAlreadyExists")
        s3.delete_object(Bucket="made-over-s3", Key="a")
        assert s3.delete_bucket(Bucket="made-over-s3")["ResponseMetadata"]["HTTPStatusCode"] == 204
        assert refusal(s3.head_bucket, Bucket="made-over-s3")[0] == 404
        assert refusal(s3.delete_bucket, Bucket="made-over-s3") == (404, "NoSuchBucket")

    @pytest.mark.req("P8")
    def test_a_bucket_has_a_location_and_no_versions(self, s3: Any, make_bucket: MakeBucket) -> None:
        bucket = make_bucket()
        assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] == "local"
        versioning = s3.get_bucket_versioning(Bucket=bucket)
        assert (versioning["Status"], versioning["MFADelete"]) == ("Suspended", "Disabled")
        assert refusal(s3.get_bucket_location, Bucket="nosuch") == (404, "NoSuchBucket")

    @pytest.mark.req("P8")
    def test_a_slash_after_the_bucket_does_not_matter(self, depot: Server, make_bucket: MakeBucket) -> None:
        for path in (f"/{make_bucket()}", f"/{make_bucket()}/"):
            request = sign_request(depot, service_credentials(depot), "GET", path, query={"location": ""})
            assert "<LocationConstraint" in send(request).text


def refusal(method: Any, **arguments: Any) -> tuple[int, str]:
    """Status and code of what boto3 is answered."""
    with pytest.raises(ClientError) as refused:
        method(**arguments)
    return error_of(refused.value)


class TestWriting:
    @pytest.mark.req("P8")
    def test_an_object_is_the_same_over_both_protocols(
        self, s3: Any, admin: httpx2.Client, make_bucket: MakeBucket
    ) -> None:
        bucket = make_bucket()
        put = s3.put_object(
            Bucket=bucket,
            Key="dir/a.txt",
            Body=b"hello world",
            ContentType="text/plain",
            CacheControl="max-age=60",
            ContentEncoding="gzip",
            Metadata={"color": "blue"},
        )
        assert put["ETag"] == '"5eb63bbbe01eeed093cb22bb8f5acdc3"'
        info = admin.get(f"/object/info/{bucket}/dir/a.txt").json()
        assert (info["metadata"], info["content_type"]) == ({"color": "blue"}, "text/plain")
        assert (info["cache_control"], info["etag"]) == ("max-age=60", put["ETag"])
        found = s3.head_object(Bucket=bucket, Key="dir/a.txt")
        assert found["ContentEncoding"] == "gzip"
        assert found["Metadata"] == {"color": "blue"}

    @pytest.mark.req("P8")
    def test_metadata_that_is_no_header_is_counted(
        self, s3: Any, admin: httpx2.Client, make_bucket: MakeBucket
    ) -> None:
        bucket = make_bucket()
        metadata = '{"fine": "yes", "Upper": "case", "number": 3, "text": "naïve", "two words": "x", "line": "a\\nb"}'
        admin.post(
            f"/object/{bucket}/a", data={"metadata": metadata}, files={"file": ("f", b"a", "text/plain")}
        ).raise_for_status()
        found = s3.head_object(Bucket=bucket, Key="a")
        assert found["Metadata"] == {"fine": "yes", "upper": "case"}
        assert found["MissingMeta"] == 4

    @pytest.mark.req("P8")
    def test_more_metadata_than_clients_can_read_is_left_out(
        self, s3: Any, admin: httpx2.Client, make_bucket: MakeBucket
    ) -> None:
        bucket = make_bucket()
        admin.post(
            f"/object/{bucket}/a",
            data={"metadata": f'{{"long": "{"x" * 100_000}", "b": "c"}}'},
            files={"file": ("f", b"a")},
        ).raise_for_status()
        found = s3.head_object(Bucket=bucket, Key="a")
        assert (found["Metadata"], found["MissingMeta"]) == ({"b": "c"}, 1)

    @pytest.mark.req("P8")
    def test_writing_again_replaces(self, s3: Any, make_bucket: MakeBucket) -> None:
        bucket = make_bucket()
        for body in (b"first", b"second"):
            s3.put_object(Bucket=bucket, Key="a", Body=body)
        assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"second"
        assert refusal(s3.put_object, Bucket=bucket, Key="a", IfNoneMatch="*") == (412, "PreconditionFailed")
        assert refusal(s3.put_object, Bucket=bucket, Key="a", IfMatch='"x"') == (501, "NotImplemented")

    @pytest.mark.req("P8")
    def test_an_empty_object_whose_key_ends_in_a_slash_is_a_folder(
        self, s3: Any, make_bucket: MakeBucket
    ) -> None:
        bucket = make_bucket()
        s3.put_object(Bucket=bucket, Key="dir/")
        [entry] = s3.list_objects_v2(Bucket=bucket)["Contents"]
        assert entry["Key"] == "dir/.emptyFolderPlaceholder"

    @pytest.mark.req("P8")
    def test_the_buckets_limits_hold(self, s3: Any, make_bucket: MakeBucket) -> None:
        bucket = make_bucket(file_size_limit=10, allowed_mime_types=["text/plain"])
        named = {"Bucket": bucket, "Key": "a"}
        s3.put_object(**named, Body=b"x" * 10, ContentType="text/plain")
        assert refusal(s3.put_object, **named, Body=b"x" * 11, ContentType="text/plain") == (
            413,
            "EntityTooLarge",
        )
        assert refusal(s3.put_object, **named, Body=b"", ContentType="image/png") == (415, "InvalidMimeType")
        assert refusal(s3.put_object, **named, Body=b"") == (415, "InvalidMimeType")
        assert refusal(s3.create_multipart_upload, **named) == (415, "InvalidMimeType")
        assert refusal(s3.put_object, Bucket="nosuch", Key="a") == (404, "NoSuchBucket")

    @pytest.mark.req("P8")
    @pytest.mark.parametrize(
        "header",
        ["x-amz-server-side-encryption-customer-key", "x-amz-object-lock-mode", "x-amz-write-offset-bytes"],
    )
    def test_a_promise_that_cannot_be_kept_is_not_given(
        self, depot: Server, make_bucket: MakeBucket, header: str
    ) -> None:
        credentials = service_credentials(depot)
        request = sign_request(depot, credentials, "PUT", f"/{make_bucket()}/a", headers={header: "x"})
        assert send(request).code == "NotImplemented"


@pytest.fixture(scope="module")
def stored(s3: Any, make_bucket: MakeBucket) -> Mapping[str, str]:
    """An object to be read, as boto3's arguments name it."""
    named = {"Bucket": make_bucket(), "Key": "a.html"}
    s3.put_object(**named, Body=b"hello world", ContentType="text/html")
    return named


class TestReading:
    @pytest.mark.req("P8")
    @pytest.mark.parametrize(
        ("asked", "content", "sent"),
        [("bytes=0-4", b"hello", "0-4"), ("bytes=6-", b"world", "6-10"), ("bytes=-3", b"rld", "8-10")],
    )
    def test_a_range_is_served(
        self, s3: Any, stored: Mapping[str, str], asked: str, content: bytes, sent: str
    ) -> None:
        got = s3.get_object(**stored, Range=asked)
        assert got["Body"].read() == content
        assert got["ContentRange"] == f"bytes {sent}/11"
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206

    @pytest.mark.req("P8")
    def test_a_range_outside_is_refused(self, s3: Any, stored: Mapping[str, str]) -> None:
        assert refusal(s3.get_object, **stored, Range="bytes=11-") == (416, "InvalidRange")

    @pytest.mark.req("P8")
    def test_conditions_decide(self, s3: Any, stored: Mapping[str, str]) -> None:
        found = s3.head_object(**stored)
        assert refusal(s3.get_object, **stored, IfNoneMatch=found["ETag"])[0] == 304
        assert refusal(s3.head_object, **stored, IfModifiedSince="Fri, 01 Jan 2100 00:00:00 GMT")[0] == 304
        assert refusal(s3.get_object, **stored, IfMatch='"other"') == (412, "PreconditionFailed")
        assert s3.get_object(**stored, IfMatch=found["ETag"])["Body"].read() == b"hello world"

    @pytest.mark.req("P8")
    def test_headers_are_as_the_request_wants_them(self, s3: Any, stored: Mapping[str, str]) -> None:
        got = s3.get_object(
            **stored,
            ResponseContentType="text/csv",
            ResponseContentDisposition='attachment; filename="x.csv"',
            ResponseCacheControl="no-store",
            ResponseContentEncoding="br",
            ResponseContentLanguage="de",
            ResponseExpires="Tue, 01 Jan 2030 00:00:00 GMT",
        )
        headers = got["ResponseMetadata"]["HTTPHeaders"]
        assert (got["ContentType"], got["CacheControl"], got["ContentEncoding"]) == (
            "text/csv",
            "no-store",
            "br",
        )
        assert (got["ContentDisposition"], got["ContentLanguage"]) == ('attachment; filename="x.csv"', "de")
        assert headers["expires"] == "Tue, 01 Jan 2030 00:00:00 GMT"
        got["Body"].read()

    @pytest.mark.req("P8")
    def test_a_value_that_is_no_header_is_passed_over(self, s3: Any, stored: Mapping[str, str]) -> None:
        got = s3.get_object(
            **stored, ResponseContentType="a/b\r\nx-evil: yes", ResponseContentDisposition="é"
        )
        assert got["ContentType"] == "text/html"
        assert "ContentDisposition" not in got
        assert "x-evil" not in got["ResponseMetadata"]["HTTPHeaders"]
        got["Body"].read()

    @pytest.mark.req("P8")
    def test_html_keeps_its_type_and_gets_no_rights(self, s3: Any, stored: Mapping[str, str]) -> None:
        headers = s3.head_object(**stored)["ResponseMetadata"]["HTTPHeaders"]
        assert headers["content-type"] == "text/html"
        assert "sandbox" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"

    @pytest.mark.req("P8")
    def test_what_is_not_there_is_404(self, s3: Any, stored: Mapping[str, str]) -> None:
        missing = {**stored, "Key": "none"}
        assert refusal(s3.get_object, **missing) == (404, "NoSuchKey")
        assert refusal(s3.head_object, **missing)[0] == 404
        assert refusal(s3.get_object_tagging, **missing) == (404, "NoSuchKey")
        assert s3.get_object_tagging(**stored)["TagSet"] == []


class TestCopying:
    @pytest.mark.req("P8")
    def test_a_copy_keeps_its_metadata_unless_told_otherwise(self, s3: Any, make_bucket: MakeBucket) -> None:
        bucket, other = make_bucket(), make_bucket()
        s3.put_object(
            Bucket=bucket,
            Key="a b",
            Body=b"x",
            ContentType="text/css",
            CacheControl="max-age=1",
            Metadata={"a": "b"},
        )
        source = {"Bucket": bucket, "Key": "a b"}
        copied = s3.copy_object(Bucket=other, Key="kept", CopySource=source)
        assert copied["CopyObjectResult"]["ETag"] == s3.head_object(**source)["ETag"]
        kept = s3.head_object(Bucket=other, Key="kept")
        assert (kept["ContentType"], kept["CacheControl"], kept["Metadata"]) == (
            "text/css",
            "max-age=1",
            {"a": "b"},
        )
        s3.copy_object(
            Bucket=other, Key="new", CopySource=source, MetadataDirective="REPLACE", CacheControl="max-age=2"
        )
        new = s3.head_object(Bucket=other, Key="new")
        assert (new["ContentType"], new["CacheControl"]) == ("application/octet-stream", "max-age=2")
        assert new["Metadata"] == {}

    @pytest.mark.req("P8")
    def test_an_object_is_copied_onto_itself(self, s3: Any, make_bucket: MakeBucket) -> None:
        named = {"Bucket": make_bucket(), "Key": "a"}
        s3.put_object(**named, Body=b"x")
        s3.copy_object(**named, CopySource=named, MetadataDirective="REPLACE", Metadata={"n": "1"})
        got = s3.get_object(**named)
        assert (got["Body"].read(), got["Metadata"]) == (b"x", {"n": "1"})

    @pytest.mark.req("P8")
    def test_conditions_on_the_source_decide(self, s3: Any, make_bucket: MakeBucket) -> None:
        named = {"Bucket": make_bucket(), "Key": "a"}
        etag = s3.put_object(**named, Body=b"x")["ETag"]
        copy = {"Bucket": named["Bucket"], "Key": "b", "CopySource": named}
        assert refusal(s3.copy_object, **copy, CopySourceIfMatch='"other"') == (412, "PreconditionFailed")
        assert refusal(s3.copy_object, **copy, CopySourceIfNoneMatch=etag) == (412, "PreconditionFailed")
        assert refusal(s3.head_object, Bucket=named["Bucket"], Key="b")[0] == 404
        s3.copy_object(**copy, CopySourceIfMatch=etag)

    @pytest.mark.req("P8")
    @pytest.mark.parametrize(
        ("source", "code"),
        [
            ("none", "InvalidKey"),
            ("BUCKET/none", "NoSuchKey"),
            ("nosuch/a", "NoSuchKey"),
            ("BUCKET/../a", "InvalidKey"),
            ("BUCKET/%2e%2e/a", "InvalidKey"),
            ("../a", "InvalidBucketName"),
            ("BUCKET/a?versionId=3", "NotImplemented"),
        ],
    )
    def test_a_source_that_is_none_is_refused(
        self, depot: Server, make_bucket: MakeBucket, source: str, code: str
    ) -> None:
        bucket = make_bucket()
        headers = {"x-amz-copy-source": source.replace("BUCKET", bucket)}
        request = sign_request(depot, service_credentials(depot), "PUT", f"/{bucket}/b", headers=headers)
        assert send(request).code == code


class TestDeleting:
    @pytest.mark.req("P8")
    def test_deleting_what_is_not_there_is_no_error(self, s3: Any, make_bucket: MakeBucket) -> None:
        bucket = make_bucket()
        assert s3.delete_object(Bucket=bucket, Key="none")["ResponseMetadata"]["HTTPStatusCode"] == 204
        assert refusal(s3.delete_object, Bucket="nosuch", Key="none") == (404, "NoSuchBucket")

    @pytest.mark.req("P8")
    def test_many_are_deleted_at_once_and_each_is_accounted_for(
        self, depot: Server, s3: Any, make_bucket: MakeBucket, rows: Any
    ) -> None:
        bucket = make_bucket("own")
        user = "5a1e2b52-5d4b-4f4c-9a43-3c9fd9a1b6d0"
        mine, foreign = f"{user}/a&b.txt", "other/a"
        for key in (mine, foreign):
            s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        objects = [{"Key": key} for key in (mine, foreign, "none", "../x")]
        with s3_client(depot, user_credentials(depot, token_of(depot, user))) as client:
            done = client.delete_objects(Bucket=bucket, Delete={"Objects": objects})
        assert done["Deleted"] == [{"Key": mine}, {"Key": "none"}]
        assert [(error["Key"], error["Code"]) for error in done["Errors"]] == [
            (foreign, "AccessDenied"),
            ("../x", "InvalidKey"),
        ]
        assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [foreign]

    @pytest.mark.req("P8")
    def test_a_quiet_answer_names_errors_only(self, s3: Any, make_bucket: MakeBucket) -> None:
        done = s3.delete_objects(Bucket=make_bucket(), Delete={"Objects": [{"Key": "a"}], "Quiet": True})
        assert "Deleted" not in done

    @pytest.mark.req("P8")
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<Delete>",
            b"<Delete/>",
            b"<Other><Object><Key>a</Key></Object></Other>",
            b"<Delete>" + b"<Object><Key>a</Key></Object>" * 1001 + b"</Delete>",
            b"<Delete>" + b" " * (4 * 1024 * 1024) + b"<Object><Key>a</Key></Object></Delete>",
            b'<!DOCTYPE d [<!ENTITY a "x">]><Delete><Object><Key>&a;</Key></Object></Delete>',
            b'<!DOCTYPE d SYSTEM "file:///etc/passwd"><Delete><Object><Key>a</Key></Object></Delete>',
            b'<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&a;</Key></Object></Delete>',
            b"<!DOCTYPE d ["
            + b'<!ENTITY a0 "aaaaaaaaaa">'
            + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 12))
            + b"]><Delete><Object><Key>&a11;</Key></Object></Delete>",
            b"<Delete>" + b"<Object>" * 5000 + b"</Object>" * 5000 + b"</Delete>",
            b"\x00\x01\x02",
        ],
        ids=range(12),
    )
    def test_a_document_that_is_none_is_refused(
        self, depot: Server, make_bucket: MakeBucket, body: bytes
    ) -> None:
        request = sign_request(
            depot, service_credentials(depot), "POST", f"/{make_bucket()}", query={"delete": ""}, body=body
        )
        answer = send(request)
        assert (answer.status, answer.code) in ((400, "MalformedXML"), (413, "EntityTooLarge"))
        assert "root:" not in answer.text


NAMES = ("a///b.txt", "/a", "a/", " x ", "a b@+$,;=?&!*'():x-_.", "%", "..a", "a..", "...")


@pytest.mark.req("P8")
@pytest.mark.parametrize("key", [name for name in NAMES if name != "%"])
def test_unusual_keys_survive(s3: Any, make_bucket: MakeBucket, key: str) -> None:
    bucket = make_bucket()
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    assert s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})["Deleted"] == [{"Key": key}]


ATTACKS = {
    "/BUCKET/..": "InvalidKey",
    "/BUCKET/../x": "InvalidKey",
    "/BUCKET/%2e%2e/x": "InvalidKey",
    "/BUCKET/a/%2E%2E/%2E%2E/x": "InvalidKey",
    "/BUCKET/..%2fx": "InvalidKey",
    "/BUCKET/.": "InvalidKey",
    "/BUCKET/a%00b": "InvalidKey",
    "/BUCKET/a%5Cb": "InvalidKey",
    "/BUCKET/a%0Ab": "InvalidKey",
    "/BUCKET/%C3%BC": "InvalidKey",
    "/BUCKET/%ff": "InvalidKey",
    "/BUCKET/%25": "InvalidKey",
    "/BUCKET/[a]": "InvalidKey",
    "/BUCKET/a^b": "InvalidKey",
    "/BUCKET/a|b": "InvalidKey",
    "/BUCKET/" + "x" * 1025: "InvalidKey",
    "/../object/x": "InvalidBucketName",
    "/%2e%2e/x": "InvalidBucketName",
    "//x": "InvalidBucketName",
    "/a%2Fb/x": "InvalidBucketName",
    "/" + "b" * 101 + "/x": "InvalidBucketName",
    "/%20b/x": "InvalidBucketName",
}


@pytest.mark.req("P8")
@pytest.mark.parametrize("path", ATTACKS)
def test_names_that_lead_elsewhere_are_refused(depot: Server, make_bucket: MakeBucket, path: str) -> None:
    sent = path.replace("BUCKET", make_bucket())
    for method in ("PUT", "GET", "DELETE"):
        answer = send(sign_request(depot, service_credentials(depot), method, sent))
        assert (answer.status, answer.code) == (400, ATTACKS[path])


OF_OBJECTS = (
    *(
        "acl",
        "tagging",
        "retention",
        "legal-hold",
        "torrent",
        "restore",
        "select",
        "attributes",
        "renameObject",
    ),
    *("versionId", "partNumber", "uploadId", "encryption", "somethingnew"),
)
OF_BUCKETS = (
    *("acl", "policy", "cors", "lifecycle", "versions", "website", "logging", "notification", "tagging"),
    *("encryption", "replication", "object-lock", "ownershipControls", "publicAccessBlock", "requestPayment"),
    *("accelerate", "inventory", "metrics", "analytics", "somethingnew"),
)
IMPLEMENTED = {("tagging", "GET"), ("uploadId", "GET"), ("uploadId", "POST"), ("uploadId", "DELETE")}


class TestSubresources:
    """What is not implemented is never taken for the whole object or bucket."""

    @pytest.mark.req("P8")
    @pytest.mark.parametrize("name", OF_OBJECTS)
    def test_of_an_object(self, depot: Server, s3: Any, make_bucket: MakeBucket, name: str) -> None:
        bucket = make_bucket()
        s3.put_object(Bucket=bucket, Key="a", Body=b"kept")
        for method in ("GET", "PUT", "POST", "DELETE", "HEAD"):
            if (name, method) in IMPLEMENTED:
                continue
            value = "" if name not in ("versionId", "partNumber", "uploadId") else "1"
            request = sign_request(
                depot, service_credentials(depot), method, f"/{bucket}/a", query={name: value}, body=b""
            )
            assert send(request).status == 501, (method, name)
        assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"kept"

    @pytest.mark.req("P8")
    @pytest.mark.parametrize("name", OF_BUCKETS)
    def test_of_a_bucket(self, depot: Server, s3: Any, make_bucket: MakeBucket, name: str) -> None:
        bucket = make_bucket()
        for method in ("GET", "PUT", "POST", "DELETE", "HEAD"):
            request = sign_request(
                depot, service_credentials(depot), method, f"/{bucket}", query={name: ""}, body=b""
            )
            assert send(request).status == 501, (method, name)
        s3.head_bucket(Bucket=bucket)

    @pytest.mark.req("P8")
    def test_another_method_is_not_allowed(self, depot: Server, make_bucket: MakeBucket) -> None:
        request = sign_request(depot, service_credentials(depot), "PATCH", f"/{make_bucket()}/a")
        assert send(request).code == "MethodNotAllowed"
