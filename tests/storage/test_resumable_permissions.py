"""Resumable uploads: who may make one, go on with it, ask about it and end it."""

from collections.abc import Iterator
from uuid import uuid4

import httpx2
import psycopg
import pytest

from tests.server import Server
from tests.storage.conftest import MakeBucket, storage_client, token_of
from tests.storage.tus import BASE, TUS, append, begin, create, fetch, metadata, offset_of

pytestmark = [pytest.mark.req("P8"), pytest.mark.usefixtures("without_uploads")]

REFUSED = "new row violates row-level security policy"


@pytest.fixture
def ada_id() -> str:
    return str(uuid4())


@pytest.fixture
def ada(depot: Server, ada_id: str) -> Iterator[httpx2.Client]:
    with storage_client(depot, token_of(depot, ada_id)) as client:
        yield client


@pytest.fixture
def bob(depot: Server) -> Iterator[httpx2.Client]:
    with storage_client(depot, token_of(depot)) as client:
        yield client


@pytest.fixture
def nobody(depot: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{depot.url}/storage/v1") as client:
        yield client


def every_answer(client: httpx2.Client, url: str, **headers: str) -> list[httpx2.Response]:
    """To HEAD, PATCH and DELETE."""
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    return [
        client.head(url, headers={**TUS, **given}),
        append(client, url, 0, b"evil", **headers),
        client.delete(url, headers={**TUS, **given}),
    ]


def test_one_s_own_folder_is_open_and_others_are_not(
    ada: httpx2.Client, ada_id: str, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket("own")
    name = f"{ada_id}/a.txt"
    append(ada, begin(ada, bucket, name, 5), 0, b"hello")
    assert fetch(ada, bucket, name) == b"hello"
    found = rows.execute("select owner::text, owner_id from storage.objects where bucket_id = %s", [bucket])
    assert found.fetchall() == [(ada_id, ada_id)]
    for elsewhere in (f"{uuid4()}/a.txt", "a.txt"):
        refused = create(ada, bucket, elsewhere)
        assert (refused.status_code, refused.text) == (403, REFUSED)


def test_permission_is_asked_for_at_every_step(
    depot: Server, make_bucket: MakeBucket, admin: httpx2.Client
) -> None:
    """A user loses the claim that the policies want while the upload is under way."""
    bucket = make_bucket("staff")
    user_id = str(uuid4())
    with (
        storage_client(depot, token_of(depot, user_id, app_metadata={"job": "staff"})) as staff,
        storage_client(depot, token_of(depot, user_id)) as dismissed,
    ):
        url = begin(staff, bucket, "a.txt")
        append(staff, url, 0, b"hello")
        seen, *others = every_answer(dismissed, url)
        assert seen.status_code == 403
        assert [(answer.status_code, answer.text) for answer in others] == [(403, REFUSED)] * 2
        assert offset_of(staff, url) == 5
        assert append(staff, url, 5, b"world").headers["tus-complete"] == "1"
    assert fetch(admin, bucket, "a.txt") == b"helloworld"


def test_nobody_goes_on_with_somebody_else_s_upload(
    ada: httpx2.Client, bob: httpx2.Client, anon: httpx2.Client, admin: httpx2.Client, make_bucket: MakeBucket
) -> None:
    """Not even where the policies let all of them write the same names."""
    bucket = make_bucket("open")
    url = begin(ada, bucket, "a.txt")
    append(ada, url, 0, b"hello")
    for other in (bob, anon, admin):
        assert [answer.status_code for answer in every_answer(other, url)] == [404] * 3
    assert append(ada, url, 5, b"world").headers["tus-complete"] == "1"

    url = begin(admin, bucket, "b.txt")
    for other in (ada, anon):
        assert [answer.status_code for answer in every_answer(other, url)] == [404] * 3


def test_a_new_token_of_the_same_user_goes_on(
    ada: httpx2.Client, ada_id: str, depot: Server, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket("own")
    url = begin(ada, bucket, f"{ada_id}/a.txt")
    append(ada, url, 0, b"hello")
    with storage_client(depot, token_of(depot, ada_id, session_id=str(uuid4()))) as refreshed:
        assert append(refreshed, url, 5, b"world").headers["tus-complete"] == "1"


def test_whoever_may_only_put_something_in_can_resume_too(
    anon: httpx2.Client, admin: httpx2.Client, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket("drop")
    url = begin(anon, bucket, "a.txt")
    append(anon, url, 0, b"hello")
    assert offset_of(anon, url) == 5
    append(anon, url, 5, b"world")
    assert fetch(admin, bucket, "a.txt") == b"helloworld"
    replacing = create(anon, bucket, "a.txt", x_upsert="true")  # which takes SELECT and UPDATE
    assert (replacing.status_code, replacing.text) == (403, REFUSED)


def test_a_bad_token_is_refused_in_the_shape_of_the_json_api(
    nobody: httpx2.Client, admin: httpx2.Client, make_bucket: MakeBucket
) -> None:
    url = begin(admin, make_bucket("open"), "a.txt")
    for answer in (nobody.post(BASE), append(nobody, url, 0, b"x"), nobody.delete(url)):
        assert answer.status_code == 400
        assert answer.json()["message"] == "headers must have required property 'authorization'"
    answer = nobody.post(BASE, headers={**TUS, "authorization": "Bearer nonsense"})
    assert (answer.status_code, answer.json()["message"]) == (400, "Invalid Compact JWS")
    assert nobody.head(url, headers=TUS).status_code == 400


def test_a_signed_url_lets_anybody_upload_one_object(
    ada: httpx2.Client, ada_id: str, nobody: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket("own")
    name = f"{ada_id}/a.txt"
    token = ada.post(f"/object/upload/sign/{bucket}/{name}").json()["token"]
    signed = {"x-signature": token}
    described = metadata(bucket, name)
    made = nobody.post(
        f"{BASE}/sign", headers={**TUS, **signed, "upload-length": "10", "upload-metadata": described}
    )
    assert made.status_code == 201, made.text
    url = made.headers["location"]
    assert url.rpartition("/")[0].endswith("/storage/v1/upload/resumable/sign")
    append(nobody, url, 0, b"hello", x_signature=token)
    assert nobody.head(url, headers={**TUS, **signed}).headers["upload-offset"] == "5"

    # The token is asked for each time, and the upload stays where it began.
    for answer in every_answer(nobody, url)[1:]:
        assert (answer.status_code, answer.text) == (400, "Missing x-signature header")
    plain = url.replace("/sign/", "/")
    assert [answer.status_code for answer in every_answer(ada, plain)] == [404] * 3

    last = append(nobody, url, 5, b"world", x_signature=token)
    assert last.headers["tus-complete"] == "1"
    assert fetch(ada, bucket, name) == b"helloworld"
    found = rows.execute("select owner_id from storage.objects where bucket_id = %s", [bucket]).fetchall()
    assert found == [(ada_id,)]
    again = nobody.post(
        f"{BASE}/sign", headers={**TUS, **signed, "upload-length": "1", "upload-metadata": described}
    )
    assert (again.status_code, again.text) == (409, "The resource already exists")


def test_a_signed_url_may_allow_to_replace(
    admin: httpx2.Client, nobody: httpx2.Client, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket()
    admin.post(f"/object/{bucket}/a.txt", content=b"before").raise_for_status()
    asked = admin.post(f"/object/upload/sign/{bucket}/a.txt", headers={"x-upsert": "true"})
    url = begin_signed(nobody, asked.json()["token"], bucket, "a.txt", 5)
    append(nobody, url, 0, b"after", x_signature=asked.json()["token"])
    assert fetch(admin, bucket, "a.txt") == b"after"


def test_a_token_that_is_not_for_this_upload_is_refused(
    admin: httpx2.Client, ada: httpx2.Client, nobody: httpx2.Client, make_bucket: MakeBucket, depot: Server
) -> None:
    bucket = make_bucket("open")
    admin.post(f"/object/{bucket}/there.txt", content=b"x").raise_for_status()
    download = admin.post(f"/object/sign/{bucket}/there.txt", json={"expiresIn": 60}).json()["signedURL"]
    other = admin.post(f"/object/upload/sign/{bucket}/other.txt").json()["token"]
    cases = {
        "": "Missing x-signature header",
        "nonsense": "Invalid Compact JWS",
        other: "Invalid signature",
        download.partition("token=")[2]: "Token is not scoped for upload",
        token_of(depot): "Token is not scoped for upload",
    }
    for token, text in cases.items():
        headers = {
            **TUS,
            "x-signature": token,
            "upload-length": "1",
            "upload-metadata": metadata(bucket, "a.txt"),
        }
        answer = admin.post(f"{BASE}/sign", headers=headers)
        assert (answer.status_code, answer.text) == (400, text)

    # Nor does one for the same object that somebody else was given.
    mine = admin.post(f"/object/upload/sign/{bucket}/a.txt").json()["token"]
    hers = ada.post(f"/object/upload/sign/{bucket}/a.txt").json()["token"]
    url = begin_signed(nobody, mine, bucket, "a.txt", 5)
    assert [answer.status_code for answer in every_answer(nobody, url, x_signature=hers)] == [404] * 3
    assert [answer.status_code for answer in every_answer(nobody, url, x_signature=other)] == [400] * 3
    assert append(nobody, url, 0, b"hello", x_signature=mine).headers["tus-complete"] == "1"


def begin_signed(client: httpx2.Client, token: str, bucket: str, name: str, length: int) -> str:
    described = metadata(bucket, name)
    made = client.post(
        f"{BASE}/sign",
        headers={**TUS, "x-signature": token, "upload-length": str(length), "upload-metadata": described},
    )
    assert made.status_code == 201, made.text
    url: str = made.headers["location"]
    return url
