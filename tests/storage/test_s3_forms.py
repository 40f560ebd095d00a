"""Uploads by a form with a signed policy."""

from datetime import timedelta
from typing import Any

import pytest

from tests.server import Server
from tests.storage.conftest import MakeBucket, stored_files, token_of
from tests.storage.s3 import (
    BASE,
    policy_form,
    post_form,
    s3_client,
    service_credentials,
    user_credentials,
)
from tests.storage.test_s3_objects import refusal


@pytest.mark.req("P8")
def test_boto3_makes_forms_that_upload(s3: Any, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    fields = {"Content-Type": "text/plain", "x-amz-meta-color": "blue"}
    form = s3.generate_presigned_post(
        bucket, "up/${filename}", fields, [{name: value} for name, value in fields.items()]
    )
    answer = post_form(form["url"], form["fields"], b"hello", filename="C:\\files\\a.txt")
    assert (answer.status, answer.headers["etag"]) == (200, '"5d41402abc4b2a76b9719d911017c592"')
    got = s3.get_object(Bucket=bucket, Key="up/a.txt")
    assert (got["Body"].read(), got["ContentType"]) == (b"hello", "text/plain")
    assert got["Metadata"] == {"color": "blue"}


@pytest.mark.req("P8")
def test_a_users_form_is_under_their_policies(depot: Server, make_bucket: MakeBucket) -> None:
    bucket, user = make_bucket("own"), "5a1e2b52-5d4b-4f4c-9a43-3c9fd9a1b6d2"
    with s3_client(depot, user_credentials(depot, token_of(depot, user))) as client:
        forms = [client.generate_presigned_post(bucket, f"{folder}/a") for folder in (user, "other")]
    statuses = [post_form(form["url"], form["fields"], b"a").status for form in forms]
    assert statuses == [200, 403]


@pytest.mark.req("P8")
@pytest.mark.parametrize(("asked", "status"), [("201", 201), ("204", 204), ("200", 200), ("302", 200)])
def test_the_status_may_be_chosen(s3: Any, make_bucket: MakeBucket, asked: str, status: int) -> None:
    bucket, field = make_bucket(), {"success_action_status": asked}
    form = s3.generate_presigned_post(bucket, "a", field, [field])
    answer = post_form(form["url"], form["fields"], b"a")
    assert answer.status == status
    assert (b"<PostResponse" in answer.body) == (status == 201)


# Conditions, fields, content, and the outcome.
FORMS: dict[str, tuple[list[Any], dict[str, str], bytes, int, str]] = {
    "exactly": ([{"key": "a/b"}], {"key": "a/b"}, b"x", 200, ""),
    "exactly, as a list": ([["eq", "$key", "a/b"]], {"key": "a/b"}, b"x", 200, ""),
    "a prefix": ([["starts-with", "$key", "a/"]], {"key": "a/b"}, b"x", 200, ""),
    "any": ([["starts-with", "$key", ""]], {"key": "a/b"}, b"x", 200, ""),
    "names in any case": ([{"Key": "a"}, ["eq", "$ACL", "x"]], {"KEY": "a", "acl": "x"}, b"x", 200, ""),
    "a field to be ignored": ([{"key": "a"}], {"key": "a", "x-ignore-this": "y"}, b"x", 200, ""),
    "a size within": ([{"key": "a"}, ["content-length-range", 1, 3]], {"key": "a"}, b"xxx", 200, ""),
    "another key": ([{"key": "a/b"}], {"key": "a/c"}, b"x", 403, "AccessDenied"),
    "another prefix": ([["starts-with", "$key", "a/"]], {"key": "b/a/"}, b"x", 403, "AccessDenied"),
    "no key": ([{"key": "a"}], {}, b"x", 403, "AccessDenied"),
    "a field that is not covered": (
        [{"key": "a"}],
        {"key": "a", "x-amz-meta-more": "y"},
        b"x",
        403,
        "AccessDenied",
    ),
    "a key that is not covered": ([], {"key": "a"}, b"x", 403, "AccessDenied"),
    "a covered field that is missing": (
        [{"key": "a"}, {"acl": "x"}],
        {"key": "a"},
        b"x",
        403,
        "AccessDenied",
    ),
    "another bucket": ([{"key": "a"}, {"bucket": "other"}], {"key": "a"}, b"x", 403, "AccessDenied"),
    "the bucket as a field": (
        [{"key": "a"}, {"bucket": "other"}],
        {"key": "a", "bucket": "other"},
        b"x",
        403,
        "AccessDenied",
    ),
    "too much": (
        [{"key": "a"}, ["content-length-range", 1, 3]],
        {"key": "a"},
        b"xxxx",
        413,
        "EntityTooLarge",
    ),
    "too little": ([{"key": "a"}, ["content-length-range", 1, 3]], {"key": "a"}, b"", 400, "EntityTooSmall"),
    "two keys": ([{"key": "a"}], {"key": "a", "Key": "b"}, b"x", 400, "InvalidRequest"),
    "a name that leads elsewhere": ([{"key": "../a"}], {"key": "../a"}, b"x", 400, "InvalidKey"),
    "an unknown condition": (
        [{"key": "a"}, ["ends-with", "$key", "a"]],
        {"key": "a"},
        b"x",
        400,
        "InvalidSignature",
    ),
    "a condition with two fields": ([{"key": "a", "acl": "b"}], {"key": "a"}, b"x", 400, "InvalidSignature"),
    "a condition without a dollar": ([["eq", "key", "a"]], {"key": "a"}, b"x", 400, "InvalidSignature"),
}


@pytest.mark.req("P8")
@pytest.mark.parametrize("name", FORMS)
def test_a_form_must_be_as_its_policy_says(
    depot: Server, s3: Any, make_bucket: MakeBucket, name: str
) -> None:
    conditions, fields, body, status, code = FORMS[name]
    bucket = make_bucket()
    if not any(isinstance(condition, dict) and "bucket" in condition for condition in conditions):
        conditions = [{"bucket": bucket}, *conditions]
    before = stored_files(depot)
    form = policy_form(service_credentials(depot), conditions, fields)
    answer = post_form(f"{depot.url}{BASE}/{bucket}", form, body)
    assert answer.status == status, answer.text
    assert status == 200 or answer.code == code
    assert len(stored_files(depot) - before) == (status == 200)


@pytest.mark.req("P8")
@pytest.mark.parametrize(
    ("expires", "code"), [(timedelta(seconds=-2), "ExpiredToken"), (None, "InvalidSignature")]
)
def test_a_policy_ends(depot: Server, make_bucket: MakeBucket, expires: timedelta | None, code: str) -> None:
    bucket = make_bucket()
    form = policy_form(
        service_credentials(depot), [{"bucket": bucket}, {"key": "a"}], {"key": "a"}, expires=expires
    )
    form["X-Amz-Date"] = "99991231T235959Z"
    assert post_form(f"{depot.url}{BASE}/{bucket}", form, b"x").code == code


@pytest.mark.req("P8")
@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("Policy", "eyJjb25kaXRpb25zIjpbXX0=", "SignatureDoesNotMatch"),
        ("Policy", "nonsense", "SignatureDoesNotMatch"),
        ("X-Amz-Signature", "0" * 64, "SignatureDoesNotMatch"),
        ("X-Amz-Credential", "other/20260101/local/s3/aws4_request", "AccessDenied"),
        ("X-Amz-Credential", "nonsense", "InvalidSignature"),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA1", "InvalidSignature"),
        ("X-Amz-Security-Token", "nonsense", "AccessDenied"),
    ],
)
def test_an_edited_form_is_refused(
    depot: Server, make_bucket: MakeBucket, field: str, value: str, code: str
) -> None:
    bucket = make_bucket()
    form = policy_form(service_credentials(depot), [{"bucket": bucket}, {"key": "a"}], {"key": "a"})
    assert post_form(f"{depot.url}{BASE}/{bucket}", {**form, field: value}, b"x").code == code


@pytest.mark.req("P8")
def test_a_form_that_never_comes_to_its_file_is_refused(depot: Server, make_bucket: MakeBucket) -> None:
    url = f"{depot.url}{BASE}/{make_bucket()}"
    long = {f"field-{number}": "x" * 1_000_000 for number in range(4)}
    assert post_form(url, long, b"x").code == "EntityTooLarge"


@pytest.mark.req("P8")
def test_a_form_for_a_bucket_that_is_none_is_refused(depot: Server, s3: Any) -> None:
    form = policy_form(service_credentials(depot), [{"bucket": "nosuch"}, {"key": "a"}], {"key": "a"})
    assert post_form(f"{depot.url}{BASE}/nosuch", form, b"x").code == "NoSuchBucket"
    assert refusal(s3.head_bucket, Bucket="nosuch")[0] == 404
