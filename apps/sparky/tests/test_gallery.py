"""The gallery: own generations by REST, their pictures by public or signed address, and how they go again."""

from collections.abc import Iterator

import httpx2
import pytest
from storage3.exceptions import StorageApiError

from tests.server import Server

from .conftest import CLIENT_WARNINGS, START_CREDITS, owner
from .studio import Sitter, a_sitter, code_of, fetch_image, succeeded

pytestmark = [*CLIENT_WARNINGS, pytest.mark.req("S3")]


@pytest.fixture
def sitter(sparky: Server) -> Iterator[Sitter]:
    with a_sitter(sparky) as somebody:
        yield somebody


@pytest.fixture(scope="module")
def stranger(sparky: Server) -> Iterator[Sitter]:
    with a_sitter(sparky) as somebody:
        yield somebody


def test_a_gallery_lists_ones_own_newest_first_in_pages(sitter: Sitter, stranger: Sitter) -> None:
    path = sitter.upload()
    made = [sitter.make("color", path, warmth=step / 10)["generation_id"] for step in range(3)]
    listed = (
        sitter.client.table("generations")
        .select("id, result_path, tools(name)")
        .order("created_at", desc=True)
    )
    assert [row["id"] for row in listed.range(0, 1).execute().data] == made[:0:-1]
    assert listed.execute().data[0]["tools"]["name"] == "Colour"
    assert stranger.client.table("generations").select("id").in_("id", made).execute().data == []


def test_pictures_are_shown_by_public_and_by_signed_address(sitter: Sitter, stranger: Sitter) -> None:
    made = sitter.make("enhance", sitter.upload())
    bucket = sitter.client.storage.from_("generations")
    for url in (
        made["url"],
        bucket.get_public_url(made["path"]),
        bucket.create_signed_url(made["path"], 60)["signedURL"],
    ):
        assert fetch_image(url).size == (300, 400)
    assert [one["name"] for one in bucket.list(sitter.id)] == [made["path"].split("/")[1]]
    theirs = stranger.client.storage.from_("generations")
    assert theirs.list(sitter.id) == []
    with pytest.raises(StorageApiError):
        theirs.create_signed_url(made["path"], 60)


def test_clients_write_nothing_into_generations(sitter: Sitter, stranger: Sitter) -> None:
    made = sitter.make("enhance", sitter.upload())
    for somebody in (sitter, stranger):
        bucket = somebody.client.storage.from_("generations")
        with pytest.raises(StorageApiError):
            bucket.upload(f"{somebody.id}/mine.png", b"x", {"content-type": "image/png"})
        bucket.remove([made["path"]])
    assert sitter.files() == [made["path"]]


def test_an_upload_is_its_owners_alone(sitter: Sitter, stranger: Sitter) -> None:
    path = sitter.upload()
    theirs = stranger.client.storage.from_("user_uploads")
    for attempt in (
        lambda: theirs.download(path),
        lambda: theirs.upload(f"{sitter.id}/mine.jpg", b"x", {"content-type": "image/jpeg"}),
    ):
        with pytest.raises(StorageApiError):
            attempt()
    with sitter.server.client() as nobody:
        assert nobody.get(f"/storage/v1/object/public/user_uploads/{path}").status_code == 400
    assert sitter.client.storage.from_("user_uploads").download(path)


@pytest.mark.req("S4")
def test_a_deleted_generation_is_gone_with_its_picture_and_is_remembered_as_spent(sitter: Sitter) -> None:
    path = sitter.upload()
    made = sitter.make("enhance", path)
    gone = sitter.client.functions.invoke(
        "delete-generation", {"body": {"generationId": made["generation_id"]}, "responseType": "json"}
    )
    assert gone == {"deleted": True}
    assert (sitter.gallery(), sitter.files()) == ([], [])
    assert httpx2.get(made["url"], verify=False).status_code == 400
    spent = sitter.client.table("credit_usage").select("tool_id, credits, generation_id").execute().data
    assert spent == [{"tool_id": "enhance", "credits": 1, "generation_id": None}]
    again = sitter.make("enhance", path)  # nothing remembers it: a new run
    assert not again["cached"]
    assert fetch_image(again["url"]).size == (300, 400)
    assert sitter.credits() == START_CREDITS - 2


def test_an_analysis_is_deleted_too(sitter: Sitter) -> None:
    told = sitter.analyse("photo_quality", sitter.upload())
    assert succeeded(sitter.call("delete-generation", {"generationId": told["generation_id"]}))["deleted"]
    assert sitter.gallery() == []


def test_nobody_deletes_what_is_not_theirs(sitter: Sitter, stranger: Sitter) -> None:
    made = sitter.make("enhance", sitter.upload())
    body = {"generationId": made["generation_id"]}
    assert code_of(stranger.call("delete-generation", body)) == (404, "GENERATION_NOT_FOUND")
    assert stranger.client.table("generations").delete().eq("id", made["generation_id"]).execute().data == []
    with sitter.server.client(sitter.server.anon_key) as nobody:
        assert code_of(nobody.post("/functions/v1/delete-generation", json=body)) == (401, "UNAUTHORIZED")
    assert code_of(sitter.call("delete-generation", {"generationId": "7"})) == (400, "VALIDATION_ERROR")
    assert len(sitter.gallery()) == len(sitter.files()) == 1


# What nobody shows is swept away


def sweep(server: Server) -> int:
    with server.client(key=server.service_role_key) as service:
        return int(succeeded(service.post("/functions/v1/sweep-generations"))["removed"])


def make_old(sitter: Sitter) -> None:
    with owner(sitter.server) as admin:
        admin.execute(
            """
            update storage.objects set created_at = now() - interval '2 hours'
            where bucket_id = 'generations' and name like %s
            """,
            [f"{sitter.id}/%"],
        )


@pytest.mark.req("S4")
def test_the_sweeper_removes_what_is_old_and_in_no_gallery(sitter: Sitter) -> None:
    kept = sitter.make("enhance", sitter.upload())
    deleted = sitter.make("enhance", sitter.upload())
    # By REST only the row goes.
    sitter.client.table("generations").delete().eq("id", deleted["generation_id"]).execute()
    sweep(sitter.server)
    assert sorted(sitter.files()) == sorted(
        [kept["path"], deleted["path"]]
    )  # young: a run may be about to keep it
    make_old(sitter)
    assert sweep(sitter.server) >= 1
    assert sitter.files() == [kept["path"]]
    assert fetch_image(kept["url"])
    assert httpx2.get(deleted["url"], verify=False).status_code == 400


@pytest.mark.req("S4")
def test_the_pictures_of_a_deleted_account_are_swept_away(sparky: Server) -> None:
    with a_sitter(sparky) as leaver:
        leaver.make("enhance", leaver.upload())
        make_old(leaver)
        with owner(sparky) as admin:
            admin.execute("delete from auth.users where id = %s", [leaver.id])
        sweep(sparky)
        assert leaver.files() == []


def test_only_the_service_role_sweeps(sitter: Sitter) -> None:
    assert code_of(sitter.call("sweep-generations", {})) == (403, "FORBIDDEN")
    answer = sitter.client.postgrest.schema("public")
    with pytest.raises(Exception, match="permission denied"):
        answer.rpc("list_orphaned_generations", {}).execute()
