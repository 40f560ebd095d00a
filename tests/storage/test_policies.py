"""Who may do what over the JSON API: policies on `storage.objects` and `storage.buckets` are the permission system.

What a caller may do is a set of letters, one for each SQL verb that a policy gives: (S)ELECT, (I)NSERT, (U)PDATE,
(D)ELETE. What an operation needs of them, and what happens without, is the table of the contract (storage.md §3).
"""

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest

from tests.server import Server
from tests.storage.conftest import MakeBucket, storage_client, token_of

pytestmark = pytest.mark.req("P8")

OWNER = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"
STAFF = "33333333-3333-4333-8333-333333333333"

# Everything happens in the folder that is named by the owner's id.
CALLERS = ("anon", "owner", "other", "staff", "service")
RIGHTS: dict[str, tuple[str, str, str, str, str]] = {
    # kind     anon   owner   other   staff   service
    "own": ("", "SIUD", "", "", "SIUD"),
    "open": ("SIUD", "SIUD", "SIUD", "SIUD", "SIUD"),
    "shown": ("S", "S", "S", "S", "SIUD"),
    "staff": ("", "", "", "SIUD", "SIUD"),
    "drop": ("I", "I", "I", "I", "SIUD"),
    "private": ("", "", "", "", "SIUD"),
    "public": ("", "", "", "", "SIUD"),  # no policy, and a bucket that is public
}

# What an operation needs, one after the other, and the answer where it is missing; "-" is a result without it.
NEEDS: dict[str, list[tuple[str, str]]] = {
    "upload": [("I", "AccessDenied")],
    "upsert what is there": [("I", "AccessDenied"), ("S", "AccessDenied"), ("U", "AccessDenied")],
    "upsert what is new": [("I", "AccessDenied"), ("S", "AccessDenied"), ("U", "AccessDenied")],
    "update": [("I", "AccessDenied"), ("S", "AccessDenied"), ("U", "AccessDenied")],
    "sign": [("S", "NoSuchKey")],
    "sign many": [("S", "-")],
    "sign an upload": [("I", "AccessDenied")],
    "sign an upsert": [("I", "AccessDenied"), ("S", "AccessDenied"), ("U", "AccessDenied")],
    "list": [("S", "-")],
    "list v2": [("S", "-")],
    "copy": [("S", "NoSuchKey"), ("I", "AccessDenied")],
    "copy over": [("S", "NoSuchKey"), ("I", "AccessDenied"), ("U", "AccessDenied")],
    "move": [("S", "NoSuchKey"), ("U", "AccessDenied")],
    "delete": [("D", "AccessDenied"), ("S", "AccessDenied")],
    "delete many": [("D", "-"), ("S", "-")],
}
# A public bucket is read by everyone who has a token, by its public address also without.
READS = ("download", "download as authenticated", "head", "info", "info as authenticated")
OPEN_READS = ("download publicly", "info publicly")

Act = Callable[[httpx2.Client, str], httpx2.Response]
TEXT = {"content-type": "text/plain"}
UPSERT = {**TEXT, "x-upsert": "true"}


def post(path: str, **more: Any) -> Act:
    """`{b}` is the bucket and `{f}` the folder; so in bodies."""

    def fill(value: Any, bucket: str) -> Any:
        if isinstance(value, dict):
            return {key: fill(part, bucket) for key, part in value.items()}
        if isinstance(value, list):
            return [fill(part, bucket) for part in value]
        return value.replace("{b}", bucket).replace("{f}", OWNER) if isinstance(value, str) else value

    method = more.pop("method", "POST")
    return lambda client, bucket: client.request(method, fill(path, bucket), **fill(more, bucket))


def moving(route: str, source: str, target: str, **more: Any) -> Act:
    body = {"bucketId": "{b}", "sourceKey": f"{{f}}/{source}", "destinationKey": f"{{f}}/{target}"}
    return post(f"/object/{route}", json=body, **more)


ACTS: dict[str, Act] = {
    "upload": post("/object/{b}/{f}/uploaded", content=b"x", headers=TEXT),
    "upsert what is there": post("/object/{b}/{f}/kept", content=b"x", headers=UPSERT),
    "upsert what is new": post("/object/{b}/{f}/upserted", content=b"x", headers=UPSERT),
    "update": post("/object/{b}/{f}/kept", content=b"x", headers=TEXT, method="PUT"),
    "download": post("/object/{b}/{f}/kept", method="GET"),
    "download as authenticated": post("/object/authenticated/{b}/{f}/kept", method="GET"),
    "download publicly": post("/object/public/{b}/{f}/kept", method="GET"),
    "head": post("/object/authenticated/{b}/{f}/kept", method="HEAD"),
    "info": post("/object/info/{b}/{f}/kept", method="GET"),
    "info as authenticated": post("/object/info/authenticated/{b}/{f}/kept", method="GET"),
    "info publicly": post("/object/info/public/{b}/{f}/kept", method="GET"),
    "sign": post("/object/sign/{b}/{f}/kept", json={"expiresIn": 60}),
    "sign many": post("/object/sign/{b}", json={"expiresIn": 60, "paths": ["{f}/kept"]}),
    "sign an upload": post("/object/upload/sign/{b}/{f}/signed"),
    "sign an upsert": post("/object/upload/sign/{b}/{f}/kept", headers={"x-upsert": "true"}),
    "list": post("/object/list/{b}", json={"prefix": "{f}"}),
    "list v2": post("/object/list-v2/{b}", json={"prefix": "{f}/"}),
    "copy": moving("copy", "kept", "copied"),
    "copy over": moving("copy", "kept", "target", headers={"x-upsert": "true"}),
    "move": moving("move", "moved", "elsewhere"),
    "delete": post("/object/{b}/{f}/deleted", method="DELETE"),
    "delete many": post("/object/{b}", json={"prefixes": ["{f}/removed"]}, method="DELETE"),
}
PLACED = ("kept", "target", "moved", "deleted", "removed")


@pytest.fixture(scope="module")
def callers(depot: Server) -> Iterator[dict[str, httpx2.Client]]:
    tokens = {
        "anon": depot.anon_key,
        "owner": token_of(depot, OWNER),
        "other": token_of(depot, OTHER),
        "staff": token_of(depot, STAFF, app_metadata={"job": "staff"}),
        "service": depot.service_role_key,
    }
    with ExitStack() as stack:
        clients = {name: stack.enter_context(storage_client(depot, token)) for name, token in tokens.items()}
        clients["nobody"] = stack.enter_context(httpx2.Client(base_url=f"{depot.url}/storage/v1", timeout=60))
        yield clients


def a_bucket(make_bucket: MakeBucket, admin: httpx2.Client, kind: str) -> str:
    """With what is to be there already."""
    bucket = make_bucket(kind, public=kind == "public")
    for name in PLACED:
        admin.post(f"/object/{bucket}/{OWNER}/{name}", content=b"hello", headers=TEXT).raise_for_status()
    return bucket


def outcome(answer: httpx2.Response) -> str:
    """`ok`, `-` for a result with nothing in it, or the code."""
    if answer.request.method == "HEAD":
        return "ok" if answer.status_code == 200 else "NoSuchKey"
    if answer.status_code != 200:
        return str(answer.json()["code"])
    if answer.headers["content-type"].startswith("application/json"):
        body = answer.json()
        found = body.get("objects", body) if isinstance(body, dict) else body
        if not found or (isinstance(found, list) and "error" in found[0] and found[0]["error"]):
            return "-"
    return "ok"


def expected(act: str, rights: str, *, public: bool) -> str:
    if act in OPEN_READS:
        return "ok" if public else "NoSuchBucket"
    if act in READS:
        return "ok" if public or "S" in rights else "NoSuchKey"
    return next((answer for need, answer in NEEDS[act] if need not in rights), "ok")


@pytest.mark.parametrize("kind", RIGHTS)
@pytest.mark.parametrize("caller", CALLERS)
def test_policies_decide(
    admin: httpx2.Client,
    make_bucket: MakeBucket,
    callers: dict[str, httpx2.Client],
    kind: str,
    caller: str,
) -> None:
    rights = RIGHTS[kind][CALLERS.index(caller)]
    bucket = a_bucket(make_bucket, admin, kind)
    happened = {act: outcome(do(callers[caller], bucket)) for act, do in ACTS.items()}
    assert happened == {act: expected(act, rights, public=kind == "public") for act in ACTS}
    there = list_of(admin, bucket)
    assert ("uploaded" in there) == ("I" in rights)
    assert ("deleted" in there) == ("removed" in there) == ("D" not in rights)
    assert ("elsewhere" in there) != ("moved" in there)
    content = admin.get(f"/object/{bucket}/{OWNER}/kept").content
    assert content == (b"x" if "U" in rights else b"hello")


@pytest.mark.parametrize("kind", ["open", "public"])
def test_without_any_token_only_public_objects_are_read(
    admin: httpx2.Client, make_bucket: MakeBucket, callers: dict[str, httpx2.Client], kind: str
) -> None:
    bucket = a_bucket(make_bucket, admin, kind)
    happened = {act: outcome(do(callers["nobody"], bucket)) for act, do in ACTS.items() if act != "head"}
    without = {"download", "info", *OPEN_READS}
    read = "ok" if kind == "public" else "NoSuchBucket"
    assert happened == {act: read if act in without else "InvalidRequest" for act in happened}
    assert set(list_of(admin, bucket)) == set(PLACED)


def list_of(admin: httpx2.Client, bucket: str) -> list[str]:
    found = admin.post(f"/object/list/{bucket}", json={"prefix": OWNER}).json()
    return [entry["name"] for entry in found]


# Buckets

BUCKETS: dict[str, dict[str, tuple[str, str]]] = {
    # what          open and shown are seen by a policy; own is not; nothing but the service role writes
    "get": {"open": ("ok", "ok"), "shown": ("ok", "ok"), "own": ("NoSuchBucket", "NoSuchBucket")},
    "list": {"open": ("ok", "ok"), "shown": ("ok", "ok"), "own": ("-", "-")},
    "update": dict.fromkeys(("open", "shown", "own"), ("NoSuchBucket", "NoSuchBucket")),
    "delete": dict.fromkeys(("open", "shown", "own"), ("NoSuchBucket", "NoSuchBucket")),
    "empty": {"open": ("ok", "ok"), "shown": ("ok", "ok"), "own": ("NoSuchBucket", "NoSuchBucket")},
}
BUCKET_ACTS: dict[str, Act] = {
    "get": post("/bucket/{b}", method="GET"),
    "list": post("/bucket?search={b}", method="GET"),
    "update": post("/bucket/{b}", json={"public": False}, method="PUT"),
    "delete": post("/bucket/{b}", method="DELETE"),
    "empty": post("/bucket/{b}/empty", json={}),
}


@pytest.mark.parametrize("kind", ["open", "shown", "own"])
def test_policies_decide_about_buckets(
    admin: httpx2.Client, make_bucket: MakeBucket, callers: dict[str, httpx2.Client], kind: str
) -> None:
    for place, caller in enumerate(("anon", "owner")):
        bucket = make_bucket(kind)
        admin.post(f"/object/{bucket}/{OWNER}/kept", content=b"x", headers=TEXT).raise_for_status()
        happened = {act: outcome(do(callers[caller], bucket)) for act, do in BUCKET_ACTS.items()}
        assert happened == {act: BUCKETS[act][kind][place] for act in BUCKETS}
        assert list_of(admin, bucket) == ([] if kind == "open" else ["kept"])


def test_only_policies_on_buckets_let_anyone_make_one(
    callers: dict[str, httpx2.Client], rows: psycopg.Connection
) -> None:
    new = f"made-{uuid4().hex[:6]}"
    answers = [callers[name].post("/bucket", json={"name": new}) for name in ("nobody", "anon", "owner")]
    assert [outcome(answer) for answer in answers] == ["InvalidRequest", "AccessDenied", "AccessDenied"]
    rows.execute(
        f"""
        create policy "users make buckets" on storage.buckets for insert to authenticated with check (
            id = '{new}' and owner_id = (select auth.uid()::text)
            and storage.allow_only_operation('storage.bucket.create'))
        """
    )
    assert outcome(callers["owner"].post("/bucket", json={"name": new})) == "ok"
    assert rows.execute("select owner::text from storage.buckets where id = %s", [new]).fetchone() == (OWNER,)


# What policies see

OPERATIONS = {
    "upload": "storage.object.upload",
    "update": "storage.object.upload_update",
    "download": "storage.object.get_authenticated",
    "info as authenticated": "object.get_authenticated_info",
    "sign": "storage.object.sign",
    "sign many": "storage.object.sign_many",
    "sign an upload": "storage.object.sign_upload_url",
    "list": "storage.object.list",
    "list v2": "storage.object.list_v2",
    "copy": "storage.object.copy",
    "move": "storage.object.move",
    "delete": "storage.object.delete",
    "delete many": "storage.object.delete_many",
}


@pytest.fixture(scope="module")
def told(depot: Server) -> None:
    """Buckets of the kind "told" let everyone do the operation that the header `x-operation` names."""
    with psycopg.connect(depot.database_url, autocommit=True) as rows:
        rows.execute(
            """
            create policy "as the header says" on storage.objects for all to authenticated using (
                starts_with(bucket_id, 'told')
                and storage.allow_only_operation(current_setting('request.headers')::json ->> 'x-operation')
                and (select auth.uid()) is not null
                and current_setting('request.method') <> ''
                and starts_with(current_setting('request.path'), '/'))
            """
        )


@pytest.mark.usefixtures("told")
def test_policies_see_the_operation_and_the_headers(
    admin: httpx2.Client, depot: Server, make_bucket: MakeBucket
) -> None:
    bucket = a_bucket(make_bucket, admin, "told")
    with storage_client(depot, token_of(depot, OTHER)) as client:
        for act, operation in OPERATIONS.items():
            for named, is_fine in (("storage.object.nothing", False), (operation, True)):
                client.headers["x-operation"] = named
                assert (outcome(ACTS[act](client, bucket)) == "ok") == is_fine, (act, named)


def test_policies_see_the_type_and_the_size_of_an_upload(
    callers: dict[str, httpx2.Client], make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket("notes")
    rows.execute(
        f"""
        create policy "short notes" on storage.objects for insert to authenticated with check (
            bucket_id = '{bucket}' and metadata ->> 'mimetype' = 'text/plain'
            and (metadata ->> 'contentLength')::integer < 10 and user_metadata ->> 'mood' = 'good')
        """
    )
    good = base64.b64encode(b'{"mood":"good"}').decode()
    for name, content, headers, result in [
        ("a", b"short", {**TEXT, "x-metadata": good}, "ok"),
        ("b", b"much too long", {**TEXT, "x-metadata": good}, "AccessDenied"),
        ("c", b"short", {"content-type": "image/png", "x-metadata": good}, "AccessDenied"),
        ("d", b"short", TEXT, "AccessDenied"),
    ]:
        answer = callers["owner"].post(f"/object/{bucket}/{name}", content=content, headers=headers)
        assert outcome(answer) == result, name


def test_an_object_is_its_uploaders(
    depot: Server, callers: dict[str, httpx2.Client], make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket("open")

    def owner(name: str) -> tuple[str | None, str | None] | None:
        return rows.execute(
            "select owner::text, owner_id from storage.objects where bucket_id = %s and name = %s",
            [bucket, name],
        ).fetchone()

    callers["owner"].post(f"/object/{bucket}/a", content=b"x")
    assert owner("a") == (OWNER, OWNER)
    callers["other"].put(f"/object/{bucket}/a", content=b"y")
    assert owner("a") == (OTHER, OTHER)
    callers["staff"].post("/object/copy", json={"bucketId": bucket, "sourceKey": "a", "destinationKey": "b"})
    assert (owner("a"), owner("b")) == ((OTHER, OTHER), (STAFF, STAFF))
    callers["owner"].post("/object/move", json={"bucketId": bucket, "sourceKey": "b", "destinationKey": "c"})
    assert owner("c") == (OWNER, OWNER)
    for caller in ("anon", "service"):
        callers[caller].post(f"/object/{bucket}/{caller}", content=b"x")
        assert owner(caller) == (None, None)
    with storage_client(depot, token_of(depot, "github|5")) as stranger:
        assert stranger.post(f"/object/{bucket}/g", content=b"x").status_code == 200
    assert owner("g") == (None, "github|5")


# Triggers of the project

WATCH = """
create table public.writes (n bigserial primary key, op text, name text, uid uuid, operation text);
create function public.note_write() returns trigger language plpgsql security definer set search_path = '' as $$
begin
    insert into public.writes (op, name, uid, operation)
    values (tg_op, coalesce(new.name, old.name), auth.uid(), storage.operation());
    return null;
end
$$;
create trigger note_insert after insert on storage.objects for each row
    when (starts_with(new.bucket_id, 'open-watched')) execute function public.note_write();
create trigger note_update after update on storage.objects for each row
    when (starts_with(new.bucket_id, 'open-watched')) execute function public.note_write();
create trigger note_delete after delete on storage.objects for each row
    when (starts_with(old.bucket_id, 'open-watched')) execute function public.note_write();
"""


def test_a_trigger_fires_once_for_each_write_and_knows_who_writes(
    callers: dict[str, httpx2.Client], make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    rows.execute(WATCH)
    bucket = make_bucket("open-watched")
    owner, other = callers["owner"], callers["other"]
    named = {"bucketId": bucket}
    url = f"/object/{bucket}"
    assert owner.post(f"{url}/a", content=b"x").status_code == 200
    assert owner.post(f"{url}/a", content=b"x").status_code == 400  # it exists
    assert other.put(f"{url}/a", content=b"y").status_code == 200
    assert (
        owner.post("/object/copy", json={**named, "sourceKey": "a", "destinationKey": "b"}).status_code == 200
    )
    assert (
        other.post("/object/move", json={**named, "sourceKey": "b", "destinationKey": "c"}).status_code == 200
    )
    signed = owner.post(f"/object/upload/sign/{bucket}/d").json()
    assert other.put(signed["url"], content=b"z").status_code == 200
    assert owner.request("DELETE", f"{url}/a").status_code == 200
    assert other.request("DELETE", url, json={"prefixes": ["c", "nothing"]}).status_code == 200
    found = rows.execute("select op, name, uid::text, operation from public.writes order by n").fetchall()
    assert found == [
        ("INSERT", "a", OWNER, "storage.object.upload"),
        ("UPDATE", "a", OTHER, "storage.object.upload_update"),
        ("INSERT", "b", OWNER, "storage.object.copy"),
        ("UPDATE", "c", OTHER, "storage.object.move"),
        ("INSERT", "d", OTHER, "storage.object.upload_signed"),
        ("DELETE", "a", OWNER, "storage.object.delete"),
        ("DELETE", "c", OTHER, "storage.object.delete_many"),
    ]


def test_a_trigger_may_refuse_a_write_in_its_own_words(
    callers: dict[str, httpx2.Client], make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket("open")
    rows.execute(
        f"""
        create function public.refuse_write() returns trigger language plpgsql as $$
        begin raise exception 'the quota is used up'; end $$;
        create trigger refuse_write before insert on storage.objects for each row
            when (new.bucket_id = '{bucket}') execute function public.refuse_write();
        """
    )
    answer = callers["owner"].post(f"/object/{bucket}/a", content=b"x")
    assert (answer.status_code, answer.json()["message"]) == (400, "the quota is used up")
