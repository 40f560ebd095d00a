"""Who gets in over S3: signatures of each kind, users' tokens under policies, and what is refused."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from basalt.storage.s3.operations import FORM, OPERATIONS, Operation
from tests.server import Server
from tests.storage.conftest import MakeBucket, token_of
from tests.storage.s3 import (
    BASE,
    error_of,
    fetch,
    policy_form,
    post_form,
    presign,
    s3_client,
    send,
    service_credentials,
    sign_request,
    user_credentials,
)

USER = str(uuid4())
OTHER = str(uuid4())


def token_for(server: Server, caller: str) -> str:
    match caller:
        case "anon":
            return server.anon_key
        case "service":
            return server.service_role_key
        case "staff":
            return token_of(server, OTHER, app_metadata={"job": "staff"})
        case _:
            return token_of(server, {"user": USER, "other": OTHER}[caller])


# What a caller may do in a bucket of a kind: Put, Get, List, Copy, Multipart, Delete; a dash where not.
MATRIX = {
    ("own", "user"): "PGLCMD",
    ("own", "other"): "------",
    ("own", "anon"): "------",
    ("own", "service"): "PGLCMD",
    ("open", "user"): "PGLCMD",
    ("open", "anon"): "PGLCMD",
    ("shown", "user"): "-GL---",
    ("shown", "anon"): "-GL---",
    ("staff", "staff"): "PGLCMD",
    ("staff", "user"): "------",
    ("drop", "anon"): "------",
    ("private", "user"): "------",
    ("private", "service"): "PGLCMD",
}


@pytest.mark.req("P8")
@pytest.mark.parametrize(("kind", "caller"), MATRIX)
def test_a_users_token_may_do_what_the_policies_say(
    depot: Server, make_bucket: MakeBucket, s3: Any, kind: str, caller: str
) -> None:
    bucket = make_bucket(kind)
    key = f"{USER}/there.txt"
    s3.put_object(Bucket=bucket, Key=key, Body=b"there")
    with s3_client(depot, user_credentials(depot, token_for(depot, caller))) as client:
        attempts = {
            "P": lambda: client.put_object(Bucket=bucket, Key=f"{USER}/new.txt", Body=b"new"),
            "G": lambda: client.get_object(Bucket=bucket, Key=key)["Body"].read(),
            "L": lambda: client.list_objects_v2(Bucket=bucket)["Contents"],
            "C": lambda: client.copy_object(
                Bucket=bucket, Key=f"{USER}/copy.txt", CopySource={"Bucket": bucket, "Key": key}
            ),
            "M": lambda: client.create_multipart_upload(Bucket=bucket, Key=f"{USER}/large.txt"),
            "D": lambda: client.delete_object(Bucket=bucket, Key=key),
        }
        outcome, refusals = "", set()
        for letter, attempt in attempts.items():
            try:
                attempt()
                outcome += letter
            except ClientError as error:
                refusals.add(error_of(error))
                outcome += "-"
            except KeyError:  # the list is empty
                outcome += "-"
    assert outcome == MATRIX[kind, caller]
    assert refusals <= {(403, "AccessDenied"), (404, "NoSuchKey")}


@pytest.mark.req("P8")
def test_an_object_belongs_to_the_user_whose_token_made_it(
    depot: Server, make_bucket: MakeBucket, rows: Any
) -> None:
    bucket = make_bucket("own")
    with s3_client(depot, user_credentials(depot, token_of(depot, USER))) as client:
        client.put_object(Bucket=bucket, Key=f"{USER}/a", Body=b"a")
        upload = client.create_multipart_upload(Bucket=bucket, Key=f"{USER}/b")
        named = {"Bucket": bucket, "Key": f"{USER}/b", "UploadId": upload["UploadId"]}
        client.upload_part(**named, PartNumber=1, Body=b"b")
        client.complete_multipart_upload(**named)
    found = rows.execute("select owner::text, owner_id from storage.objects where bucket_id = %s", [bucket])
    assert found.fetchall() == [(USER, USER)] * 2


@pytest.mark.req("P8")
def test_policies_see_which_operation_of_s3_is_under_way(
    depot: Server, make_bucket: MakeBucket, s3: Any, rows: Any
) -> None:
    bucket = make_bucket()
    s3.put_object(Bucket=bucket, Key="a", Body=b"a")
    rows.execute(
        f"""create policy "s3 {bucket}" on storage.objects for select to authenticated
        using (bucket_id = '{bucket}' and storage.allow_only_operation('s3.object.info'))"""
    )
    with s3_client(depot, user_credentials(depot, token_of(depot))) as client:
        client.head_object(Bucket=bucket, Key="a")
        with pytest.raises(ClientError) as refused:
            client.get_object(Bucket=bucket, Key="a")
    rows.execute(f'drop policy "s3 {bucket}" on storage.objects')
    assert error_of(refused.value) == (404, "NoSuchKey")


@pytest.mark.req("P8")
def test_only_inserting_is_enough_where_nothing_is_to_be_replaced(
    depot: Server, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket("drop")
    with s3_client(depot, user_credentials(depot, depot.anon_key)) as client:
        client.put_object(Bucket=bucket, Key="a", Body=b"a", IfNoneMatch="*")
        with pytest.raises(ClientError) as refused:
            client.put_object(Bucket=bucket, Key="a", Body=b"a", IfNoneMatch="*")
    assert error_of(refused.value) == (412, "PreconditionFailed")


@pytest.mark.req("P8")
def test_the_publishable_key_is_a_secret_of_users_too(depot: Server, make_bucket: MakeBucket) -> None:
    credentials = Credentials("depot", depot.publishable_key, token_of(depot))
    with s3_client(depot, credentials) as client:
        client.put_object(Bucket=make_bucket("open"), Key="a", Body=b"a")


REGIONS = {"local": 200, "us-east-1": 200, "auto": 200, "eu-west-1": 403}


@pytest.mark.req("P8")
@pytest.mark.parametrize("region", REGIONS)
def test_the_servers_region_and_the_usual_placeholders_are_taken(depot: Server, region: str) -> None:
    request = sign_request(depot, service_credentials(depot), "GET", "/", region=region)
    assert send(request).status == REGIONS[region]


@pytest.mark.req("P8")
def test_the_signature_may_be_for_the_address_of_a_proxy(depot: Server) -> None:
    credentials = service_credentials(depot)
    for host, forwarded in (
        ("files.example.com", {"x-forwarded-host": "files.example.com", "x-forwarded-port": "443"}),
        ("files.example.com:8443", {"x-forwarded-host": "files.example.com", "x-forwarded-port": "8443"}),
        ("files.example.com:8443", {"x-forwarded-host": "files.example.com:8443"}),
    ):
        request = sign_request(depot, credentials, "GET", "/", headers={"host": host})
        del request.headers["host"]
        assert send(request).status == 403
        assert send(request, headers=forwarded).status == 200


@pytest.mark.req("P8")
def test_a_body_that_was_not_announced_by_its_hash_is_hashed(depot: Server, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    request = sign_request(depot, service_credentials(depot), "PUT", f"/{bucket}/a", body=b"hello")
    assert send(request).status == 200
    assert send(request, body=b"hella").code == "XAmzContentSHA256Mismatch"


class TestPresignedUrls:
    @pytest.mark.req("P8")
    def test_boto3_makes_urls_that_put_and_get(self, s3: Any, make_bucket: MakeBucket) -> None:
        named = {"Bucket": make_bucket(), "Key": "a b+c/(1)'.txt"}
        put = s3.generate_presigned_url("put_object", {**named, "ContentType": "text/plain"}, 60)
        sent = fetch("PUT", put, body=b"hello", headers={"content-type": "text/plain"})
        assert sent.status == 200, sent.text
        got = fetch("GET", s3.generate_presigned_url("get_object", named, 60))
        assert (got.text, got.headers["content-type"]) == ("hello", "text/plain")

    @pytest.mark.req("P8")
    def test_a_users_url_is_under_their_policies(self, depot: Server, make_bucket: MakeBucket) -> None:
        bucket = make_bucket("own")
        with s3_client(depot, user_credentials(depot, token_of(depot, USER))) as client:
            fine, foreign = (
                client.generate_presigned_url("put_object", {"Bucket": bucket, "Key": f"{user}/a"}, 60)
                for user in (USER, OTHER)
            )
        assert fetch("PUT", fine, body=b"a").status == 200
        assert fetch("PUT", foreign, body=b"a").code == "AccessDenied"

    @pytest.mark.req("P8")
    def test_a_bearer_token_that_came_along_does_not_matter(self, depot: Server) -> None:
        url = presign(depot, service_credentials(depot), "GET", "/")
        assert fetch("GET", url, headers={"authorization": "Bearer nonsense"}).status == 200

    @pytest.mark.req("P8")
    def test_what_does_not_concern_the_signature_is_free(
        self, depot: Server, make_bucket: MakeBucket
    ) -> None:
        bucket = make_bucket()
        url = presign(depot, service_credentials(depot), "PUT", f"/{bucket}/a")
        headers = {"content-type": "text/css", "user-agent": "x", "x-amz-cf-id": "x", "x-amzn-trace-id": "x"}
        assert fetch("PUT", url, body=b"a", headers=headers).status == 200

    @pytest.mark.req("P8")
    @pytest.mark.parametrize(
        "headers",
        [
            {"x-amz-copy-source": "/private/secret"},
            {"x-amz-meta-color": "red"},
            {"x-amz-acl": "public-read"},
            {"x-amz-metadata-directive": "REPLACE"},
            {"x-amz-security-token": "other"},
        ],
    )
    def test_a_header_that_was_not_signed_makes_no_other_request_of_it(
        self, depot: Server, make_bucket: MakeBucket, headers: dict[str, str]
    ) -> None:
        url = presign(depot, service_credentials(depot), "PUT", f"/{make_bucket()}/a")
        assert fetch("PUT", url, body=b"a", headers=headers).code == "AccessDenied"

    @pytest.mark.req("P8")
    def test_another_method_path_or_parameter_is_refused(
        self, depot: Server, make_bucket: MakeBucket
    ) -> None:
        bucket = make_bucket()
        url = presign(depot, service_credentials(depot), "PUT", f"/{bucket}/a")
        for method, edited in (
            ("DELETE", url),
            ("PUT", url.replace(f"{bucket}/a", f"{bucket}/b")),
            ("PUT", url.replace(f"{bucket}/a", f"{bucket}/%61")),
            ("PUT", f"{url}&tagging"),
            ("PUT", url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000")),
            ("PUT", url[:-1] + ("0" if url[-1] != "0" else "1")),
        ):
            assert fetch(method, edited).status in (403, 501)

    @pytest.mark.req("P8")
    @pytest.mark.parametrize("expires_s", [0, 604801])
    def test_urls_live_between_a_second_and_a_week(self, depot: Server, expires_s: int) -> None:
        url = presign(depot, service_credentials(depot), "GET", "/", expires_s=expires_s)
        assert fetch("GET", url).code == "InvalidSignature"

    @pytest.mark.req("P8")
    def test_an_expired_url_is_refused(self, depot: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        credentials = service_credentials(depot)
        ago(monkeypatch, timedelta(seconds=62))
        assert fetch("GET", presign(depot, credentials, "GET", "/")).code == "ExpiredToken"
        ago(monkeypatch, timedelta(hours=-1))
        assert fetch("GET", presign(depot, credentials, "GET", "/")).code == "RequestTimeTooSkewed"


@pytest.mark.req("P8")
def test_a_signature_is_good_for_a_quarter_of_an_hour(depot: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for minutes, status in ((14, 200), (16, 403), (-14, 200), (-16, 403)):
        ago(monkeypatch, timedelta(minutes=minutes))
        answer = send(sign_request(depot, service_credentials(depot), "GET", "/"))
        assert answer.status == status
        assert status == 200 or answer.code == "RequestTimeTooSkewed"


def ago(monkeypatch: pytest.MonkeyPatch, before: timedelta) -> None:
    """Botocore signs for another time."""
    now = datetime.now(UTC).replace(tzinfo=None) - before
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: now)


POLICY = ({"bucket": "nosuch"}, {"key": "key"})

# Every operation with every kind of credentials that must not do


def refused_credentials(server: Server) -> dict[str, Credentials]:
    fixed = service_credentials(server)
    assert fixed.access_key is not None
    return {
        "another secret": Credentials(fixed.access_key, "x" * 64),
        "another access key": Credentials("x" * 32, fixed.secret_key),
        "the pair with a user's token": Credentials(fixed.access_key, fixed.secret_key, token_of(server)),
        "the project without a token": Credentials("depot", server.anon_key),
        "a forged token": Credentials("depot", server.anon_key, token_of(server)[:-4] + "AAAA"),
        "an expired token": Credentials("depot", server.anon_key, token_of(server, exp=1)),
        "no token at all": Credentials("depot", server.anon_key, "nonsense"),
        "the service key as secret": Credentials("depot", server.service_role_key, token_of(server)),
        "another project": Credentials("other", server.anon_key, token_of(server)),
    }


@pytest.mark.req("P8")
@pytest.mark.parametrize(
    "operation", OPERATIONS, ids=lambda operation: f"{operation.name} {operation.method}"
)
def test_no_operation_is_open_to_credentials_that_are_not_good(depot: Server, operation: Operation) -> None:
    path = {"service": "/", "bucket": "/nosuch", "object": "/nosuch/key"}[operation.level]
    url = f"{depot.url}{BASE}{path}"
    query = {name: value or "1" for name, value in operation.query.items()}
    headers = {} if operation.header is None else {operation.header[0]: operation.header[1] or "/a/b"}
    bearer = {"authorization": f"Bearer {depot.service_role_key}", "apikey": depot.secret_key}
    if operation.header is FORM:
        answers = {
            kind: post_form(url, policy_form(credentials, POLICY, {"key": "key"}), b"a")
            for kind, credentials in refused_credentials(depot).items()
        }
        answers["none"] = post_form(url, {"key": "key"}, b"a")
    else:
        answers = {
            kind: send(sign_request(depot, credentials, operation.method, path, query=query, headers=headers))
            for kind, credentials in refused_credentials(depot).items()
        }
        url += f"?{urlencode(query)}"
        answers["none"] = fetch(operation.method, url, headers=headers)
        answers["a bearer token"] = fetch(operation.method, url, headers={**headers, **bearer})
    assert {kind: answer.status for kind, answer in answers.items()} == dict.fromkeys(answers, 403)


MALFORMED = (
    "AWS4-HMAC-SHA256 nonsense",
    "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=" + "0" * 64,
    "AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request, SignedHeaders=host, Signature=xyz",
    "AWS4-HMAC-SHA256 Credential=a/20260101/c/s3/aws5_request, SignedHeaders=host, Signature=" + "0" * 64,
    "AWS4-ECDSA-P256-SHA256 Credential=a, SignedHeaders=host, Signature=" + "0" * 64,
    "AWS a:b",
)


@pytest.mark.req("P8")
@pytest.mark.parametrize("authorization", MALFORMED)
def test_malformed_signatures_are_refused(depot: Server, authorization: str) -> None:
    headers = {"authorization": authorization, "x-amz-date": f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"}
    answer = fetch("GET", f"{depot.url}/storage/v1/s3/", headers=headers)
    assert answer.code in ("InvalidSignature", "AccessDenied")


@pytest.mark.req("P8")
def test_an_error_is_a_document_with_its_code(depot: Server) -> None:
    answer = fetch("GET", f"{depot.url}/storage/v1/s3/photos/a%20b")
    assert answer.headers["content-type"] == "application/xml; charset=utf-8"
    assert answer.text == (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
        '<Error xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Resource>photos/a b</Resource>'
        "<Code>AccessDenied</Code><Message>Missing signature</Message>"
        # where boto3 looks
        "<Error><Code>AccessDenied</Code><Message>Missing signature</Message></Error></Error>"
    )
