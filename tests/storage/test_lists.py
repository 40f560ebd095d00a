"""What is in a bucket: `POST /object/list`, `POST /object/list-v2`, and the routines of the database behind them."""

import base64
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server import Server
from tests.storage.conftest import MakeBucket, storage_client, token_of

pytestmark = pytest.mark.req("P8")

MORNING = datetime(2026, 1, 1, 8, tzinfo=UTC)
NAMES = [
    *(
        "B.txt",
        "a.txt",
        "b.txt",
        "dir-x",
        "dir.txt",
        "dir/Two.txt",
        "dir/one.txt",
        "dir/sub/deep.txt",
        "dir0",
    ),
    *("Dir/x", "wild_card/x", "wildXcard/y", "100%/x", "a///b.txt", "marked/", "marked/c.txt"),
    *("new/.emptyFolderPlaceholder", "dir"),
]

Refill = Callable[[dict[str, datetime]], str]
PUT = """
insert into storage.objects (bucket_id, name, created_at, updated_at, last_accessed_at, metadata)
select %s, name, at, at, at, '{"size": 5}' from unnest(%s::text[], %s::timestamptz[]) as given(name, at)
"""


def put(rows: psycopg.Connection, bucket: str, names: Sequence[str], times: Sequence[datetime] = ()) -> None:
    """Rows without bytes, which lists do not look at."""
    rows.execute(PUT, [bucket, list(names), list(times) or [MORNING] * len(names)])


@pytest.fixture(scope="module")
def shelf(depot: Server, make_bucket: MakeBucket) -> str:
    """A bucket with `NAMES`."""
    bucket = make_bucket("shown")
    with psycopg.connect(depot.database_url, autocommit=True) as rows:
        put(rows, bucket, NAMES)
    return bucket


def list_level(client: httpx2.Client, bucket: str, prefix: str = "", **options: Any) -> list[str]:
    """The names of a level, folders with a slash."""
    answer = client.post(f"/object/list/{bucket}", json={"prefix": prefix, **options})
    assert answer.status_code == 200, answer.text
    return [entry["name"] + ("/" if entry["id"] is None else "") for entry in answer.json()]


def list_pages(client: httpx2.Client, bucket: str, **options: Any) -> tuple[list[str], list[str]]:
    """Folders and objects of all pages; every page but the last is full."""
    folders: list[str] = []
    objects: list[str] = []
    while True:
        answer = client.post(f"/object/list-v2/{bucket}", json=options)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        folders += [folder["name"] for folder in page["folders"]]
        objects += [entry["name"] for entry in page["objects"]]
        assert len(set(folders)) == len(folders)
        assert len(set(objects)) == len(objects)
        if not page["hasNext"]:
            assert "nextCursor" not in page
            assert "nextCursorKey" not in page
            return folders, objects
        assert len(page["folders"]) + len(page["objects"]) == options.get("limit", 1000)
        options["cursor"] = page["nextCursor"]


# One level


def test_an_entry_is_an_object_or_a_folder_without_anything_but_a_name(
    admin: httpx2.Client, make_bucket: MakeBucket
) -> None:
    bucket = make_bucket()
    for name in ("dir/hello.txt", "up.txt"):
        admin.post(f"/object/{bucket}/{name}", content=b"hello", headers={"content-type": "text/plain"})
    folder, entry = admin.post(f"/object/list/{bucket}", json={"prefix": ""}).json()
    nothing = dict.fromkeys(["id", "updated_at", "created_at", "last_accessed_at", "metadata"])
    assert folder == {"name": "dir", **nothing}
    assert list(entry) == list(folder)
    assert entry["name"] == "up.txt"
    assert all(len(entry[column]) == 24 for column in ("updated_at", "created_at", "last_accessed_at"))
    assert entry["metadata"]["size"] == 5
    assert entry["metadata"]["eTag"] == '"5d41402abc4b2a76b9719d911017c592"'


LEVELS: list[tuple[str, dict[str, Any], list[str]]] = [
    # A prefix is a folder, whether it ends with a slash or not, and case counts.
    ("dir", {}, ["Two.txt", "one.txt", "sub/"]),
    ("dir/", {}, ["Two.txt", "one.txt", "sub/"]),
    ("DIR", {}, []),
    ("di", {}, []),
    ("nowhere", {}, []),
    ("dir/sub", {}, ["deep.txt"]),
    # What LIKE knows stands for itself.
    ("%", {}, []),
    ("100%", {}, ["x"]),
    ("wild_card", {}, ["x"]),
    # Empty segments are segments.
    ("a", {}, ["/"]),
    ("a/", {}, ["/"]),
    ("a//", {}, ["/"]),
    ("a///", {}, ["b.txt"]),
    # A name that ends with a slash is an object without a name in its folder.
    ("marked", {}, ["", "c.txt"]),
    ("new", {}, [".emptyFolderPlaceholder"]),
    # Bytewise, where a folder stands as if its slash were seen.
    ("", {"limit": 6}, ["100%/", "B.txt", "Dir/", "a.txt", "a/", "b.txt"]),
    ("", {"limit": 3, "offset": 6}, ["dir", "dir-x", "dir.txt"]),
    ("", {"limit": 3, "offset": 9}, ["dir/", "dir0", "marked/"]),
    ("", {"limit": 3, "offset": 14}, ["wild_card/"]),
    ("", {"limit": 3, "offset": 15}, []),
    ("", {"limit": 3, "sortBy": {"column": "name", "order": "desc"}}, ["wild_card/", "wildXcard/", "new/"]),
    # `search` is the beginning of an entry, ignoring case.
    ("", {"search": "DIR"}, ["Dir/", "dir", "dir-x", "dir.txt", "dir/", "dir0"]),
    ("", {"search": "dir", "limit": 2, "offset": 1}, ["dir", "dir-x"]),
    ("", {"search": "b", "sortBy": {"column": "name", "order": "desc"}}, ["b.txt", "B.txt"]),
    ("dir", {"search": "TWO"}, ["Two.txt"]),
    ("dir", {"search": "wo"}, []),
    ("", {"search": "wild_"}, ["wild_card/"]),
    ("", {"search": "%"}, []),
    # A search may go down into folders; names stay relative to the prefix.
    ("", {"search": "Dir/"}, ["Dir/x", "dir/Two.txt", "dir/one.txt", "dir/sub/"]),
    ("", {"search": "dir/SUB/deep.txt"}, ["dir/sub/deep.txt"]),
]


@pytest.mark.parametrize(("prefix", "options", "names"), LEVELS)
def test_a_level_by_name(
    anon: httpx2.Client, shelf: str, prefix: str, options: dict[str, Any], names: list[str]
) -> None:
    assert list_level(anon, shelf, prefix, **options) == names


@pytest.mark.parametrize("column", ["created_at", "updated_at", "last_accessed_at"])
def test_a_level_by_time_has_its_folders_first(
    admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection, column: str
) -> None:
    bucket = make_bucket()
    names = ["a", "b", "c", "d", "x/1", "y/1", "Bb", "z/1"]
    later = [MORNING + timedelta(hours=hours) for hours in (3, 1, 2, 2, 9, 0, 1, 0)]
    put(rows, bucket, names, later)
    ascending = ["x/", "y/", "z/", "Bb", "b", "c", "d", "a"]
    for order, expected in (("asc", ascending), ("desc", ["z/", "y/", "x/", "a", "d", "c", "b", "Bb"])):
        sort = {"column": column, "order": order}
        assert list_level(admin, bucket, sortBy=sort) == expected
        assert list_level(admin, bucket, sortBy=sort, limit=3, offset=2) == expected[2:5]
    assert list_level(admin, bucket, sortBy={"column": column}, search="B") == ["Bb", "b"]
    assert list_level(admin, bucket, sortBy={"column": column}, search="%") == []


def test_a_level_has_at_most_1500_entries_and_by_itself_100(
    admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket()
    put(rows, bucket, [f"{number:04}" for number in range(1600)])
    assert len(list_level(admin, bucket)) == 100
    assert len(list_level(admin, bucket, limit=10**6)) == 1500
    assert list_level(admin, bucket, offset=1599) == ["1599"]
    assert list_level(admin, bucket, offset=10**12) == []
    folders, objects = list_pages(admin, bucket)
    assert (folders, len(objects)) == ([], 1600)
    assert len(admin.post(f"/object/list-v2/{bucket}", json={"limit": 10**6}).json()["objects"]) == 1000


def test_a_bucket_that_is_not_there_is_empty(admin: httpx2.Client) -> None:
    assert list_level(admin, "nowhere") == []
    answer = admin.post("/object/list-v2/nowhere", json={})
    assert answer.json() == {"hasNext": False, "folders": [], "objects": []}


# Pages behind a cursor


def test_a_page_has_folders_and_objects_apart(anon: httpx2.Client, shelf: str) -> None:
    body = {"with_delimiter": True, "prefix": "dir/", "limit": 2}
    first = anon.post(f"/object/list-v2/{shelf}", json=body).json()
    assert list(first) == ["hasNext", "nextCursor", "nextCursorKey", "folders", "objects"]
    assert (first["hasNext"], first["nextCursorKey"], first["folders"]) == (True, "dir/one.txt", [])
    assert [entry["name"] for entry in first["objects"]] == ["dir/Two.txt", "dir/one.txt"]
    assert first["objects"][1]["key"] == "one.txt"
    second = anon.post(f"/object/list-v2/{shelf}", json={**body, "cursor": first["nextCursor"]}).json()
    nothing = dict.fromkeys(["id", "updated_at", "created_at", "last_accessed_at", "metadata"])
    folder = {"key": "sub", "name": "dir/sub/", **nothing}
    assert second == {"hasNext": False, "folders": [folder], "objects": []}
    flat = anon.post(f"/object/list-v2/{shelf}", json={"prefix": "dir/one"}).json()
    [entry] = flat["objects"]
    assert list(entry) == ["name", "id", "updated_at", "created_at", "last_accessed_at", "metadata"]


PAGES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    (
        {"prefix": "dir"},
        [],
        ["dir", "dir-x", "dir.txt", "dir/Two.txt", "dir/one.txt", "dir/sub/deep.txt", "dir0"],
    ),
    ({"prefix": "dir", "with_delimiter": True}, ["dir/"], ["dir", "dir-x", "dir.txt", "dir0"]),
    ({"prefix": "dir/", "with_delimiter": True}, ["dir/sub/"], ["dir/Two.txt", "dir/one.txt"]),
    ({"prefix": "Dir", "with_delimiter": True}, ["Dir/"], []),
    ({"prefix": "wild_"}, [], ["wild_card/x"]),
    ({"prefix": "%"}, [], []),
    ({"prefix": "a/", "with_delimiter": True}, ["a//"], []),
    ({"prefix": "a///", "with_delimiter": True}, [], ["a///b.txt"]),
    ({"prefix": "marked/", "with_delimiter": True}, [], ["marked/", "marked/c.txt"]),
]


@pytest.mark.parametrize("limit", [1, 2, 1000])
@pytest.mark.parametrize(("options", "folders", "objects"), PAGES)
def test_pages_by_name(
    anon: httpx2.Client,
    shelf: str,
    options: dict[str, Any],
    folders: list[str],
    objects: list[str],
    limit: int,
) -> None:
    assert list_pages(anon, shelf, limit=limit, **options) == (folders, objects)
    backwards = list_pages(anon, shelf, limit=limit, sortBy={"column": "name", "order": "desc"}, **options)
    assert backwards == (folders[::-1], objects[::-1])


def test_a_cursor_remembers_the_order(anon: httpx2.Client, shelf: str) -> None:
    sort = {"column": "created_at", "order": "desc"}
    first = anon.post(f"/object/list-v2/{shelf}", json={"limit": 3, "sortBy": sort}).json()
    assert [entry["name"] for entry in first["objects"]] == [
        "wild_card/x",
        "wildXcard/y",
        "new/.emptyFolderPlaceholder",
    ]
    second = anon.post(f"/object/list-v2/{shelf}", json={"limit": 2, "cursor": first["nextCursor"]}).json()
    assert [entry["name"] for entry in second["objects"]] == ["marked/c.txt", "marked/"]


def test_a_folder_is_as_old_as_what_is_oldest_in_it(
    admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket()
    later = [MORNING + timedelta(hours=hours) for hours in (5, 1, 3, 2)]
    put(rows, bucket, ["old/a", "old/b/c", "new/a", "between"], later)
    for column in ("created_at", "updated_at"):
        options = {"with_delimiter": True, "limit": 1, "sortBy": {"column": column, "order": "asc"}}
        page = admin.post(f"/object/list-v2/{bucket}", json=options).json()
        assert (page["folders"][0]["name"], page["folders"][0][column]) == (
            "old/",
            "2026-01-01T09:00:00.000Z",
        )
        page = admin.post(f"/object/list-v2/{bucket}", json={**options, "cursor": page["nextCursor"]}).json()
        assert page["objects"][0]["name"] == "between"


# What is refused

ALLOWED = "must be equal to one of the allowed values"
WRONG: list[tuple[str, Any, str]] = [
    ("list", {}, "body must have required property 'prefix'"),
    ("list", [], "body must be object"),
    ("list", {"prefix": 5}, "body/prefix must be string"),
    ("list", {"prefix": "", "limit": 0}, "body/limit must be >= 1"),
    ("list", {"prefix": "", "limit": "many"}, "body/limit must be integer"),
    ("list", {"prefix": "", "offset": -1}, "body/offset must be >= 0"),
    ("list", {"prefix": "", "search": 5}, "body/search must be string"),
    ("list", {"prefix": "", "sortBy": "name"}, "body/sortBy must be object"),
    ("list", {"prefix": "", "sortBy": {"order": "asc"}}, "body/sortBy must have required property 'column'"),
    ("list", {"prefix": "", "sortBy": {"column": "owner"}}, f"body/sortBy/column {ALLOWED}"),
    ("list", {"prefix": "", "sortBy": {"column": "name", "order": "up"}}, f"body/sortBy/order {ALLOWED}"),
    ("list-v2", {"limit": 0}, "body/limit must be >= 1"),
    ("list-v2", {"with_delimiter": "maybe"}, "body/with_delimiter must be boolean"),
    ("list-v2", {"cursor": 5}, "body/cursor must be string"),
    ("list-v2", {"sortBy": {"column": "last_accessed_at"}}, f"body/sortBy/column {ALLOWED}"),
    ("list-v2", {"sortBy": {"column": ["name"]}}, f"body/sortBy/column {ALLOWED}"),
]


@pytest.mark.parametrize(("route", "body", "message"), WRONG)
def test_what_makes_no_sense_is_named(
    anon: httpx2.Client, shelf: str, route: str, body: Any, message: str
) -> None:
    answer = anon.post(f"/object/{route}/{shelf}", json=body)
    assert answer.status_code == 400
    wrong = {"statusCode": "400", "error": "Error", "message": message, "code": "InvalidRequest"}
    assert answer.json() == wrong


FORGED = [
    *(b"", b"l:", b"x:y", b"name", b"o:up\nl:a", b"c:owner\na:x\nl:a", b"c:created_at\nl:a", b"\xff\xfe"),
    *(b"c:created_at\na:2026-99-99T00:00:00Z\nl:a", b"c:updated_at\na:--::..\nl:a", b"l:a\0b"),
]


@pytest.mark.parametrize("lines", FORGED)
def test_a_forged_cursor_is_refused(anon: httpx2.Client, shelf: str, lines: bytes) -> None:
    for one_level in (True, False):
        cursor = base64.b64encode(lines).decode() or "!"
        body = {"cursor": cursor, "with_delimiter": one_level}
        answer = anon.post(f"/object/list-v2/{shelf}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter"), answer.text


def test_a_cursor_leads_nowhere_that_the_policies_hide(
    depot: Server, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket("own")
    mine, others = sorted(str(uuid4()) for _ in range(2))
    put(rows, bucket, [f"{user}/{name}" for user in (mine, others) for name in ("a", "b", "c")])
    with storage_client(depot, token_of(depot, mine)) as user:
        for lines in (
            f"l:{others}/a",
            f"o:desc\nl:{others}/c",
            f"c:created_at\na:1999-01-01T00:00:00Z\nl:{others}/a",
        ):
            for one_level in (True, False):
                cursor = base64.b64encode(lines.encode()).decode()
                body = {"cursor": cursor, "with_delimiter": one_level, "prefix": f"{others}/"}
                page = user.post(f"/object/list-v2/{bucket}", json=body).json()
                assert page == {"hasNext": False, "folders": [], "objects": []}
        assert list_pages(user, bucket, limit=1) == ([], [f"{mine}/{name}" for name in "abc"])
        assert list_level(user, bucket) == [f"{mine}/"]
        assert list_level(user, bucket, others) == []


# Against a plain model


def level_of(objects: dict[str, datetime], prefix: str, search: str = "") -> dict[str, datetime | None]:
    """Names of objects and folders of a level, folders with a slash and no time."""
    found: dict[str, datetime | None] = {}
    for name, at in objects.items():
        beginning = name[len(prefix) : len(prefix) + len(search)]
        if name.startswith(prefix) and beginning.lower() == search.lower():
            cut = name.find("/", len(prefix) + len(search))
            found[name[: cut + 1] if cut >= 0 else name] = None if cut >= 0 else at
    return found


TIMES = [MORNING + timedelta(microseconds=microseconds) for microseconds in (0, 1, 900, 1000, 5000)]
names_ = st.text("aAb/.-_%", min_size=1, max_size=6)
objects_ = st.dictionaries(names_, st.sampled_from(TIMES), max_size=14)
prefixes = st.text("aAb/", max_size=3)
orders = st.sampled_from(["asc", "desc"])
modest = settings(
    max_examples=70,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def refill(depot: Server, make_bucket: MakeBucket) -> Iterator[Refill]:
    """Makes these objects all that is in a bucket; the bucket."""
    bucket = make_bucket()
    with psycopg.connect(depot.database_url, autocommit=True) as rows:
        rows.execute("set storage.allow_delete_query = 'true'")

        def fill(objects: dict[str, datetime]) -> str:
            rows.execute("delete from storage.objects where bucket_id = %s", [bucket])
            put(rows, bucket, list(objects), list(objects.values()))
            return bucket

        yield fill


@given(
    objects=objects_,
    prefix=prefixes,
    search=st.text("aAb/", max_size=2),
    column=st.sampled_from(["name", "created_at"]),
    order=orders,
    limit=st.integers(1, 5),
    offset=st.integers(0, 5),
)
@modest
def test_a_level_is_what_the_model_says(
    admin: httpx2.Client,
    refill: Refill,
    objects: dict[str, datetime],
    prefix: str,
    search: str,
    column: str,
    order: str,
    limit: int,
    offset: int,
) -> None:
    bucket = refill(objects)
    base = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
    level = level_of(objects, base, search)
    if column == "name":
        expected = sorted(level, reverse=order == "desc")
    else:
        folders = sorted((name for name, at in level.items() if at is None), key=lambda name: name[:-1])
        files = sorted((at, name) for name, at in level.items() if at is not None)
        if order == "desc":
            folders, files = folders[::-1], files[::-1]
        expected = folders + [name for _, name in files]
    shown = [name[len(base) :] for name in expected[offset : offset + limit]]
    sort = {"column": column, "order": order}
    assert list_level(admin, bucket, prefix, search=search, sortBy=sort, limit=limit, offset=offset) == shown


@given(
    objects=objects_,
    prefix=prefixes,
    one_level=st.booleans(),
    column=st.sampled_from(["name", "created_at", "updated_at"]),
    order=orders,
    limit=st.integers(1, 4),
)
@modest
def test_pages_are_what_the_model_says(
    admin: httpx2.Client,
    refill: Refill,
    objects: dict[str, datetime],
    prefix: str,
    one_level: bool,
    column: str,
    order: str,
    limit: int,
) -> None:
    bucket = refill(objects)
    level: dict[str, datetime | None] = {name: at for name, at in objects.items() if name.startswith(prefix)}
    if one_level:
        level = level_of(objects, prefix)

    def sort_key(name: str) -> tuple[datetime, str]:
        at = level[name] or min(at for below, at in objects.items() if below.startswith(name))
        bare = name[:-1] if level[name] is None else name
        return at.replace(microsecond=at.microsecond // 1000 * 1000), bare

    if column == "name":
        expected = sorted(level, reverse=order == "desc")
    else:
        folders_first = sorted(level, key=lambda name: level[name] is not None)
        expected = sorted(folders_first, key=sort_key, reverse=order == "desc")
    options = {"prefix": prefix, "with_delimiter": one_level, "limit": limit}
    pages = list_pages(admin, bucket, sortBy={"column": column, "order": order}, **options)
    folders = [name for name in expected if level[name] is None]
    assert pages == (folders, [name for name in expected if level[name] is not None])


@given(
    objects=objects_,
    prefix=prefixes,
    delimiter=st.sampled_from(["/", "", "//", "-"]),
    start_after=st.text("ab/", max_size=3),
    order=orders,
    limit=st.integers(1, 4),
)
@modest
def test_the_routine_behind_s3_lists_is_what_the_model_says(
    depot: Server,
    rows: psycopg.Connection,
    refill: Refill,
    objects: dict[str, datetime],
    prefix: str,
    delimiter: str,
    start_after: str,
    order: str,
    limit: int,
) -> None:
    bucket = refill(objects)
    expected: list[tuple[str, bool]] = []
    is_folder = delimiter != "" and start_after.endswith(delimiter) and len(start_after) > len(prefix)
    for name in sorted(objects, reverse=order == "desc"):
        passed = name <= start_after if order == "asc" else start_after and name >= start_after
        if not name.startswith(prefix) or passed or (is_folder and name.startswith(start_after)):
            continue
        cut = name.find(delimiter, len(prefix)) if delimiter else -1
        entry = (name[: cut + len(delimiter)], True) if cut >= 0 else (name, False)
        if entry not in expected:
            expected.append(entry)
    found: list[tuple[str, bool]] = []
    token = ""
    while True:
        page = rows.execute(
            "select name || case when id is null then %s else '' end, id is null from "
            "storage.list_objects_with_delimiter(%s, %s, %s, %s, %s, %s, %s)",
            [delimiter, bucket, prefix, delimiter, limit, start_after, token, order],
        ).fetchall()
        found += page
        if len(page) < limit:
            break
        token = page[-1][0]
    assert found == expected


def test_multipart_uploads_under_way_are_listed_by_key_and_id(
    make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    bucket = make_bucket()
    uploads = [
        ("a", "2"),
        ("a", "1"),
        ("dir/x", "3"),
        ("dir/y", "4"),
        ("dir0", "5"),
        ("b_d", "6"),
        ("bxd", "7"),
    ]
    for key, upload_id in uploads:
        rows.execute(
            "insert into storage.s3_multipart_uploads (id, upload_signature, bucket_id, key, version) "
            "values (%s, '', %s, %s, '')",
            [f"{bucket}-{upload_id}", bucket, key],
        )

    def page(
        prefix: str, delimiter: str, limit: int, key: str = "", upload: str = ""
    ) -> list[tuple[str, str]]:
        found = rows.execute(
            "select key, id from storage.list_multipart_uploads_with_delimiter(%s, %s, %s, %s, %s, %s)",
            [bucket, prefix, delimiter, limit, key, upload and f"{bucket}-{upload}"],
        )
        return [(key, upload_id.rpartition("-")[2]) for key, upload_id in found]

    level = [("a", "1"), ("a", "2"), ("b_d", "6"), ("bxd", "7"), ("dir/", "3"), ("dir0", "5")]
    assert page("", "/", 10) == level
    assert page("b_", "/", 10) == [("b_d", "6")]
    assert page("dir", "", 10) == [("dir/x", "3"), ("dir/y", "4"), ("dir0", "5")]
    for at, (key, upload) in enumerate(level):
        assert page("", "/", 2, key, upload) == level[at + 1 : at + 3]
    assert page("", "/", 10, "a") == level[2:]
    assert page("", "/", 10, "dir/x") == [("dir/", "4"), ("dir0", "5")]
