"""Signed URLs for downloads and uploads: scopes, lives, and whom they serve."""

from collections.abc import Iterator
from uuid import uuid4

import httpx2
import jwt
import psycopg
import pytest

from tests.server import Server
from tests.storage.conftest import MakeBucket, storage_client, token_of

pytestmark = pytest.mark.req("P8")


@pytest.fixture
def nobody(depot: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{depot.url}/storage/v1") as client:
        yield client


def sign(server: Server, **claims: object) -> str:
    return jwt.encode({"exp": 2**31, **claims}, server.jwt_secret, algorithm="HS256")


def test_a_signed_url_opens_one_object(
    depot: Server, admin: httpx2.Client, nobody: httpx2.Client, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket()
    admin.post(f"/object/{bucket}/a b.txt", content=b"one", headers={"cache-control": "max-age=60"})
    admin.post(f"/object/{bucket}/other", content=b"two")
    url = admin.post(f"/object/sign/{bucket}/a b.txt", json={"expiresIn": 60}).json()["signedURL"]
    assert url.startswith(f"/object/sign/{bucket}/a%20b.txt?token=")
    token = url.partition("token=")[2]
    assert jwt.get_unverified_header(token) == {"alg": "HS256"}
    claims = jwt.decode(token, depot.jwt_secret, algorithms=["HS256"])
    assert (claims["url"], claims["scope"]) == (f"{bucket}/a b.txt", "download")
    assert claims["exp"] - claims["iat"] == 60
    got = nobody.get(url)
    assert (got.status_code, got.content) == (200, b"one")
    assert "cache-control" not in got.headers
    assert got.headers["expires"].endswith("GMT")
    assert nobody.get(f"{url}&download=x").headers["content-disposition"].startswith("attachment; filename=x")
    elsewhere = nobody.get(f"/object/sign/{bucket}/other?token={token}").json()
    assert (elsewhere["code"], elsewhere["message"]) == ("InvalidSignature", "Invalid signature")


def test_a_url_is_signed_only_for_what_the_caller_may_see(
    anon: httpx2.Client, admin: httpx2.Client, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket()
    admin.post(f"/object/{bucket}/a", content=b"x")
    assert anon.post(f"/object/sign/{bucket}/a", json={"expiresIn": 60}).json()["code"] == "NoSuchKey"
    missing = admin.post(f"/object/sign/{bucket}/nosuch", json={"expiresIn": 60}).json()
    assert missing["code"] == "NoSuchKey"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "body must have required property 'expiresIn'"),
        ({"expiresIn": "soon"}, "body/expiresIn must be integer"),
        ({"expiresIn": 0}, "body/expiresIn must be >= 1"),
        ({"expiresIn": True}, "body/expiresIn must be integer"),
    ],
)
def test_a_life_is_required(
    admin: httpx2.Client, make_bucket: MakeBucket, body: dict[str, object], message: str
) -> None:
    bucket = make_bucket()
    for path in (f"/object/sign/{bucket}/a", f"/object/sign/{bucket}"):
        answer = admin.post(path, json={"paths": ["a"], **body})
        assert answer.status_code == 400
        assert answer.json()["message"] == message
    answer = admin.post(f"/object/sign/{bucket}", json={"expiresIn": 5, "paths": []})
    assert answer.json()["message"] == "body/paths must NOT have fewer than 1 items"


def test_many_urls_at_once(admin: httpx2.Client, nobody: httpx2.Client, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    admin.post(f"/object/{bucket}/a", content=b"1")
    paths = ["a", "nosuch", "a", "../x"]
    answers = admin.post(f"/object/sign/{bucket}", json={"expiresIn": 60, "paths": paths}).json()
    assert [answer["path"] for answer in answers] == paths
    assert answers[1] == answers[3] | {"path": "nosuch"}
    assert answers[1]["error"] == "Either the object does not exist or you do not have access to it"
    assert answers[1]["signedURL"] is None
    assert nobody.get(answers[0]["signedURL"]).content == b"1"


def test_a_signed_upload_is_its_signers(
    depot: Server,
    admin: httpx2.Client,
    nobody: httpx2.Client,
    make_bucket: MakeBucket,
    rows: psycopg.Connection,
) -> None:
    bucket = make_bucket("own")
    user = str(uuid4())
    with storage_client(depot, token_of(depot, user)) as client:
        made = client.post(f"/object/upload/sign/{bucket}/{user}/x.txt").json()
        refused = client.post(f"/object/upload/sign/{bucket}/{uuid4()}/x.txt").json()
    assert refused["code"] == "AccessDenied"
    assert made["url"] == f"/object/upload/sign/{bucket}/{user}/x.txt?token={made['token']}"
    claims = jwt.decode(made["token"], depot.jwt_secret, algorithms=["HS256"])
    assert (claims["owner"], claims["upsert"], claims["scope"]) == (user, False, "upload")
    assert claims["exp"] - claims["iat"] == 7200
    sent = nobody.put(made["url"], content=b"hello", headers={"content-type": "text/plain"})
    assert (sent.status_code, sent.json()) == (200, {"Key": f"{bucket}/{user}/x.txt"})
    row = rows.execute(
        "select owner::text, owner_id from storage.objects where bucket_id = %s", [bucket]
    ).fetchone()
    assert row == (user, user)
    again = nobody.put(made["url"], content=b"again", headers={"content-type": "text/plain"})
    assert again.json()["code"] == "KeyAlreadyExists"
    assert admin.get(f"/object/{bucket}/{user}/x.txt").content == b"hello"


def test_a_signed_upload_may_replace_when_it_was_signed_so(
    admin: httpx2.Client, nobody: httpx2.Client, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket()
    admin.post(f"/object/{bucket}/x", content=b"one")
    refused = admin.post(f"/object/upload/sign/{bucket}/x").json()
    assert refused["code"] == "KeyAlreadyExists"
    made = admin.post(f"/object/upload/sign/{bucket}/x", headers={"x-upsert": "true"}).json()
    assert nobody.put(made["url"], content=b"two").status_code == 200
    assert admin.get(f"/object/{bucket}/x").content == b"two"


def test_scopes_do_not_mix(
    depot: Server, admin: httpx2.Client, nobody: httpx2.Client, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket()
    admin.post(f"/object/{bucket}/x", content=b"one")
    url = f"{bucket}/x"
    down = f"/object/sign/{url}?token="
    up = f"/object/upload/sign/{url}?token="
    cases = [
        (down, sign(depot, url=url, scope="upload", upsert=True), "Token is not scoped for download"),
        (down, sign(depot, url=url, upsert=True), "Token is not scoped for download"),
        (down, sign(depot, url=url, scope="scan"), "Token is not scoped for download"),
        (up, sign(depot, url=url, scope="download"), "Token is not scoped for upload"),
        (up, sign(depot, url=url), "Token is not scoped for upload"),
        (up, sign(depot, url=url + "y", scope="upload"), "Invalid signature"),
    ]
    for place, token, message in cases:
        answer = nobody.get(place + token) if place is down else nobody.put(place + token, content=b"evil")
        assert (answer.status_code, answer.json()["message"]) == (400, message)
        assert answer.json()["code"] == "InvalidSignature"
    assert nobody.get(down + sign(depot, url=url)).content == b"one"
    assert nobody.put(up + sign(depot, url=url, upsert=True), content=b"two").status_code == 200


def test_tokens_that_are_expired_foreign_or_edited(
    depot: Server, admin: httpx2.Client, nobody: httpx2.Client, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket()
    admin.post(f"/object/{bucket}/x", content=b"one")
    url = f"{bucket}/x"
    good = sign(depot, url=url, scope="download")
    head, payload, signature = good.split(".")
    unsigned = jwt.encode({"url": url, "scope": "download", "exp": 2**31}, None, algorithm="none")
    cases = [
        (sign(depot, url=url, scope="download", exp=1), '"exp" claim timestamp check failed'),
        (
            jwt.encode({"url": url, "exp": 2**31}, "x" * 40, algorithm="HS256"),
            "signature verification failed",
        ),
        (f"{head}.{payload[:-2]}AA.{signature}", None),
        (unsigned, None),
        ("rubbish", "Invalid Compact JWS"),
        ("", "Invalid Compact JWS"),
        (jwt.encode({"url": url, "scope": "download"}, depot.jwt_secret, algorithm="HS256"), None),
    ]
    for token, message in cases:
        for answer in (
            nobody.get(f"/object/sign/{url}?token={token}"),
            nobody.put(f"/object/upload/sign/{url}?token={token}", content=b"evil"),
        ):
            assert answer.status_code == 400
            assert answer.json()["code"] == "InvalidJWT"
            assert message is None or answer.json()["message"] == message
    missing = nobody.get(f"/object/sign/{url}").json()
    assert missing["message"] == "querystring must have required property 'token'"
    assert admin.get(f"/object/{url}").content == b"one"


def test_access_tokens_and_url_tokens_are_not_each_other(
    depot: Server, admin: httpx2.Client, nobody: httpx2.Client, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket()
    admin.post(f"/object/{bucket}/x", content=b"one")
    access = nobody.get(f"/object/sign/{bucket}/x?token={depot.service_role_key}")
    assert access.json()["code"] in ("InvalidJWT", "InvalidSignature")
    by_url = sign(depot, url=f"{bucket}/x", scope="download")
    with storage_client(depot, by_url) as client:
        assert client.get(f"/object/{bucket}/x").json()["code"] == "NoSuchKey"
