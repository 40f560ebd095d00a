"""Who may read and write which files, through supabase-py."""

import uuid

import pytest
from storage3.exceptions import StorageApiError
from supabase import Client

from tests.server import Server

from .conftest import CLIENT_WARNINGS, a_client

pytestmark = CLIENT_WARNINGS
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef"
    "0000000049454e44ae426082"
)


def upload(
    client: Client, path: str, *, bucket: str = "user_uploads", body: bytes = PNG, **options: str
) -> None:
    client.storage.from_(bucket).upload(path, body, {"content-type": "image/png", **options})  # type: ignore[arg-type]


def user_of(client: Client) -> str:
    session = client.auth.get_session()
    assert session is not None
    return session.user.id


@pytest.mark.req("S3")
def test_users_keep_their_uploads_to_themselves(sparky: Server, service: Client, buyer: Client) -> None:
    user, bucket = user_of(buyer), buyer.storage.from_("user_uploads")
    upload(buyer, f"{user}/photo.png")
    assert bucket.download(f"{user}/photo.png") == PNG
    assert [found["name"] for found in bucket.list(user)] == ["photo.png"]
    upload(buyer, f"{user}/photo.png", upsert="true")
    with a_client(sparky, sparky.anon_key) as visitor:
        with pytest.raises(StorageApiError):
            visitor.storage.from_("user_uploads").download(f"{user}/photo.png")
        assert visitor.storage.from_("user_uploads").list(user) == []
        with pytest.raises(StorageApiError):
            upload(visitor, f"{user}/other.png")
    assert service.storage.from_("user_uploads").download(f"{user}/photo.png") == PNG
    bucket.remove([f"{user}/photo.png"])
    assert bucket.list(user) == []


@pytest.mark.req("S3")
def test_nobody_reaches_into_anothers_folder(service: Client, buyer: Client) -> None:
    other = str(uuid.uuid4())
    upload(service, f"{other}/photo.png")
    bucket = buyer.storage.from_("user_uploads")
    for path in (f"{other}/mine.png", "loose.png"):
        with pytest.raises(StorageApiError):
            upload(buyer, path)
    with pytest.raises(StorageApiError):
        bucket.download(f"{other}/photo.png")
    with pytest.raises(StorageApiError):
        bucket.create_signed_url(f"{other}/photo.png", 60)
    with pytest.raises(StorageApiError):
        bucket.move(f"{other}/photo.png", f"{user_of(buyer)}/stolen.png")
    bucket.remove([f"{other}/photo.png"])
    assert bucket.list(other) == []
    assert service.storage.from_("user_uploads").download(f"{other}/photo.png") == PNG


@pytest.mark.req("S3")
def test_generations_are_written_by_the_server_read_by_address_and_listed_by_their_owner(
    sparky: Server, service: Client, buyer: Client
) -> None:
    user, other = user_of(buyer), str(uuid.uuid4())
    for folder in (user, other):
        upload(service, f"{folder}/made.png", bucket="generations")
    bucket = buyer.storage.from_("generations")
    with pytest.raises(StorageApiError):
        upload(buyer, f"{user}/forged.png", bucket="generations")
    with pytest.raises(StorageApiError):
        upload(buyer, f"{user}/made.png", bucket="generations", upsert="true")
    bucket.remove([f"{user}/made.png"])
    assert [found["name"] for found in bucket.list(user)] == ["made.png"]
    assert bucket.list(other) == []
    assert {found["name"] for found in bucket.list()} == {user}
    with sparky.client() as http:
        for folder in (user, other):
            address = bucket.get_public_url(f"{folder}/made.png")
            assert http.get(address).content == PNG


@pytest.mark.req("S3")
def test_uploads_are_pictures_of_ten_megabytes_at_most(buyer: Client) -> None:
    user = user_of(buyer)
    with pytest.raises(StorageApiError):
        upload(buyer, f"{user}/page.html", body=b"<script>", **{"content-type": "text/html"})
    with pytest.raises(StorageApiError):
        upload(buyer, f"{user}/huge.png", body=PNG + bytes(10 * 1024 * 1024))
