"""The query builder of unmodified supabase-py over every method that it has, against the orchestra's database.

What it shares with supabase-js is said there at length; here each method is used once or twice."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from postgrest import (
    CountMethod,
    ReturnMethod,
    SyncRequestBuilder,
    SyncRPCFilterRequestBuilder,
    SyncSelectRequestBuilder,
)
from postgrest.exceptions import APIError
from supabase import Client, ClientOptions, create_client

from tests.server import Server

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.req("P5")]
MakeClient = Callable[..., Client]
Narrow = Callable[[SyncSelectRequestBuilder], SyncSelectRequestBuilder]
ADA = {"first": "Ada", "rest": "Lovelace"}

# What is asked of the players, and the ids of those that are found.
FILTERS: dict[str, tuple[Narrow, list[int]]] = {
    "eq": (lambda players: players.eq("name", "Anna"), [1]),
    "eq of a number": (lambda players: players.eq("fee", 80), [2, 5]),
    "eq of a truth value": (lambda players: players.eq("active", False), [3, 6]),
    "neq": (lambda players: players.neq("rank", "tutti"), [1, 3]),
    "gt": (lambda players: players.gt("fee", 80), [1, 3]),
    "gte": (lambda players: players.gte("fee", 80), [1, 2, 3, 5]),
    "lt": (lambda players: players.lt("fee", 80), [6]),
    "lte": (lambda players: players.lte("fee", 80), [2, 5, 6]),
    "is_ null": (lambda players: players.is_("active", None), [4]),
    "is_ true": (lambda players: players.is_("active", True), [1, 2, 5]),
    "like": (lambda players: players.like("name", "%o%"), [2, 3, 4]),
    "like_all_of": (lambda players: players.like_all_of("name", "%a,A%"), [1]),
    "like_any_of": (lambda players: players.like_any_of("name", "%a,E%"), [1, 4, 5]),
    "ilike": (lambda players: players.ilike("name", "b%"), [2]),
    "ilike_all_of": (lambda players: players.ilike_all_of("name", "%A,a%"), [1]),
    "ilike_any_of": (lambda players: players.ilike_any_of("name", "%A,e%"), [1, 4, 5]),
    "in_": (lambda players: players.in_("name", ["Anna", "Fay (Jr), Lee"]), [1, 6]),
    "in_ nothing": (lambda players: players.in_("id", []), []),
    "contains on arrays": (lambda players: players.contains("instruments", ["violin"]), [1, 2]),
    "contains on JSON": (lambda players: players.contains("details", {"city": "Rome"}), [2]),
    "contains on ranges": (lambda players: players.contains("tenure", "[2011-01-01,2012-01-01)"), [1, 2]),
    "contained_by": (lambda players: players.contained_by("instruments", ["violin", "horn"]), [2, 5, 6]),
    "cs": (lambda players: players.cs("instruments", ["viola", "violin"]), [1]),
    "cd": (lambda players: players.cd("instruments", ["horn"]), [5, 6]),
    "ov": (lambda players: players.ov("tenure", "[2014-01-01,2014-06-01)"), [1, 2]),
    "overlaps": (lambda players: players.overlaps("instruments", ["viola", "horn"]), [1, 5]),
    "sl": (lambda players: players.sl("tenure", (date(2015, 1, 1), date(2016, 1, 1))), [2]),
    "sr": (lambda players: players.sr("tenure", ("1990-01-01", "2015-01-01")), [3, 4]),
    "nxl": (lambda players: players.nxl("tenure", ("2009-12-31", "2011-01-01")), [2, 3, 4]),
    "nxr": (lambda players: players.nxr("tenure", ("2000-01-01", "2020-01-01")), [1, 2]),
    "adj": (lambda players: players.adj("tenure", ("2019-12-31", "2020-06-01")), [1, 4]),
    "range_lt": (lambda players: players.range_lt("tenure", ("2015-01-01", "2016-01-01")), [2]),
    "range_gt": (lambda players: players.range_gt("tenure", ("1990-01-01", "2015-01-01")), [3, 4]),
    "range_gte": (lambda players: players.range_gte("tenure", ("2009-12-31", "2011-01-01")), [2, 3, 4]),
    "range_lte": (lambda players: players.range_lte("tenure", ("2000-01-01", "2020-01-01")), [1, 2]),
    "range_adjacent": (
        lambda players: players.range_adjacent("tenure", ("2019-12-31", "2020-06-01")),
        [1, 4],
    ),
    "match": (lambda players: players.match({"section_id": 1, "rank": "tutti"}), [2]),
    "or_": (lambda players: players.or_("name.eq.Anna,and(section_id.eq.1,rank.eq.tutti)"), [1, 2]),
    "not_": (lambda players: players.not_.eq("rank", "tutti"), [1, 3]),
    "not_ in_": (lambda players: players.not_.in_("id", [1, 2, 3]), [4, 5, 6]),
    "not_ is_": (lambda players: players.not_.is_("section_id", None), [1, 2, 3, 4, 5]),
    "not_ or_": (lambda players: players.not_.or_("id.lt.3,id.gt.4"), [3, 4]),
    "filter": (lambda players: players.filter("id", "gt(all)", "{1,4}"), [5, 6]),
    "JSON paths": (lambda players: players.eq("details->>city", "Rome"), [2]),
    "several": (lambda players: players.gt("id", 2).lt("id", 5), [3, 4]),
}

# What is asked of the pieces, and the ids of those that are found.
SEARCHES: dict[str, tuple[Narrow, list[int]]] = {
    "fts": (lambda pieces: pieces.fts("search", "orchestra"), [1, 2]),
    "plfts": (lambda pieces: pieces.plfts("search", "orchestra"), [1, 2]),
    "phfts": (lambda pieces: pieces.phfts("search", "orchestra"), [1, 2]),
    "wfts": (lambda pieces: pieces.wfts("search", "orchestra -bolero"), [1]),
    "text_search": (
        lambda pieces: pieces.text_search("search", "sea | theme", {"config": "english"}),
        [2, 3],
    ),
    "text_search, plain": (
        lambda pieces: pieces.text_search(
            "search", "large orchestras", {"type": "plain", "config": "english"}
        ),
        [1],
    ),
    "text_search, phrase": (
        lambda pieces: pieces.text_search(
            "search", "whole orchestra", {"type": "phrase", "config": "english"}
        ),
        [2],
    ),
    "text_search, web_search": (
        lambda pieces: pieces.text_search(
            "notes", '"large orchestra" or sea', {"type": "web_search", "config": "english"}
        ),
        [1, 3],
    ),
}


@pytest.fixture(scope="module")
def make_client(orchestra: Server) -> Iterator[MakeClient]:
    """Clients over one HTTP client, which is closed at the end: their own they leave to the garbage collector."""
    with httpx.Client() as http:

        def make(**options: Any) -> Client:
            settings = ClientOptions(
                auto_refresh_token=False, persist_session=False, httpx_client=http, **options
            )
            return create_client(orchestra.url, orchestra.anon_key, settings)

        yield make


@pytest.fixture
def visitor(make_client: MakeClient) -> Client:
    return make_client()


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_finds_its_rows(visitor: Client, name: str) -> None:
    narrow, ids = FILTERS[name]
    rows = narrow(visitor.table("players").select("id").order("id")).execute().data
    assert [row["id"] for row in rows] == ids


@pytest.mark.parametrize("name", SEARCHES)
def test_text_is_searched(visitor: Client, name: str) -> None:
    narrow, ids = SEARCHES[name]
    rows = narrow(visitor.table("pieces").select("id").order("id")).execute().data
    assert [row["id"] for row in rows] == ids


def test_columns_are_renamed_cast_and_followed_into_json(visitor: Client) -> None:
    anna = visitor.from_("players").select(
        "player:name", "fee::text", "details->languages->>first", "first_of:instruments->0", "initial"
    )
    assert anna.eq("id", 1).execute().data == [
        {"player": "Anna", "fee": "120.50", "first": "lv", "first_of": "violin", "initial": "A"}
    ]


def test_related_rows_are_embedded_spread_and_aggregated(visitor: Client) -> None:
    sections = visitor.table("sections").select("name", "players!inner(name, contracts(salary))")
    rows = sections.eq("players.rank", "principal").execute().data
    assert rows == [{"name": "Strings", "players": [{"name": "Anna", "contracts": {"salary": 5000}}]}]
    spread = visitor.table("performances").select("part", "...players(player:name)").eq("concert_id", 2)
    assert spread.order("part").execute().data == [
        {"part": "flute", "player": "Chloe"},
        {"part": "solo", "player": "Anna"},
    ]
    sums = visitor.table("players").select("section_id", "fee.sum()", "count()").order("section_id").limit(1)
    assert sums.execute().data == [{"section_id": 1, "sum": 200.5, "count": 2}]


def test_embedded_rows_are_filtered_ordered_and_limited(visitor: Client) -> None:
    strings = visitor.table("sections").select("players(name)").eq("id", 1)
    by_name = strings.or_("name.eq.Anna,rank.eq.tutti", reference_table="players").order(
        "name", desc=True, foreign_table="players"
    )
    assert by_name.limit(1, foreign_table="players").execute().data == [{"players": [{"name": "Bruno"}]}]
    page = visitor.table("sections").select("players(name)").eq("id", 1).order("id", foreign_table="players")
    assert page.range(1, 1, foreign_table="players").execute().data == [{"players": [{"name": "Bruno"}]}]


def test_rows_are_ordered_and_paged(visitor: Client) -> None:
    def ids(query: SyncSelectRequestBuilder) -> list[int]:
        return [row["id"] for row in query.execute().data]

    players = visitor.table("players")
    assert ids(players.select("id").order("fee").order("id", desc=True)) == [6, 5, 2, 3, 1, 4]
    assert ids(players.select("id").order("active", nullsfirst=True).order("id").limit(2)) == [4, 3]
    assert ids(players.select("id").order("active", desc=True, nullsfirst=False).order("id").limit(1)) == [1]
    assert ids(players.select("id").order("id").limit(2).offset(3)) == [4, 5]
    assert ids(players.select("id").order("id").range(1, 2)) == [2, 3]


def test_counts_are_exact_planned_and_estimated(visitor: Client) -> None:
    seats = visitor.table("seats")
    first = seats.select("id", count=CountMethod.exact).eq("row_number", 1).order("id").limit(1).execute()
    assert (first.data, first.count) == ([{"id": 1}], 15)
    assert seats.select("*", count=CountMethod.planned, head=True).execute().count == 150
    assert seats.select("*", count=CountMethod.estimated, head=True).execute().count == 150
    head = visitor.table("sections").select("*", count=CountMethod.estimated, head=True).execute()
    assert (head.data, head.count) == ([], 4)


def test_single_and_maybe_single_give_one_row(visitor: Client) -> None:
    players = visitor.table("players")
    assert players.select("name").eq("id", 1).single().execute().data == {"name": "Anna"}
    refused = refusal(players.select("name").lt("id", 3).single())
    assert (refused.code, refused.details) == ("PGRST116", "The result contains 2 rows")
    found = players.select("name").eq("id", 1).maybe_single().execute()
    assert found is not None
    assert found.data == {"name": "Anna"}
    assert players.select("name").eq("id", 99).maybe_single().execute() is None


def test_answers_come_as_csv_without_nulls_and_as_plans(visitor: Client) -> None:
    sections = visitor.table("sections").select("id", "name").lt("id", 3).order("id")
    assert sections.csv().execute().data == "id,name\n1,Strings\n2,Woodwinds"
    fay = visitor.table("players").select("id", "rank").eq("id", 6)
    assert fay.strip_nulls().execute().data == [{"id": 6}]
    text = visitor.table("players").select("name").explain(analyze=True, verbose=True).execute()
    assert text.startswith("Aggregate  (cost=")
    assert "actual time=" in text
    plans: Any = (
        visitor.table("players").select("name").explain(settings=True, buffers=True, format="json").execute()
    )
    assert "search_path" in plans.data[0]["Settings"]
    assert "Shared Hit Blocks" in plans.data[0]["Plan"]


def test_rows_are_inserted(visitor: Client) -> None:
    tickets = visitor.table("tickets")
    (row,) = tickets.insert({"seat": "py-a1", "note": "aisle"}).execute().data
    assert (row["price"], row["status"], row["label"]) == (25, "free", "Seat py-a1")
    many = tickets.insert([{"seat": "py-a2", "note": "x"}, {"seat": "py-a3", "status": "sold"}])
    assert [(row["status"], row["note"]) for row in many.order("seat").execute().data] == [
        (None, "x"),
        ("sold", None),
    ]
    defaults = tickets.insert(
        [{"seat": "py-a4", "price": 5}, {"seat": "py-a5", "status": "sold"}], default_to_null=False
    )
    assert [(row["price"], row["status"]) for row in defaults.order("seat").execute().data] == [
        (5, "free"),
        (25, "sold"),
    ]
    counted = tickets.insert(
        [{"seat": "py-a6"}, {"seat": "py-a7"}], count=CountMethod.exact, returning=ReturnMethod.minimal
    ).execute()
    assert (counted.data, counted.count) == ([], 2)
    embedded = tickets.insert({"seat": "py-a8", "player_id": 2}).select("seat", "players(name)").execute()
    assert embedded.data == [{"seat": "py-a8", "players": {"name": "Bruno"}}]


def test_dates_bytes_and_large_numbers_are_written(visitor: Client) -> None:
    payment = {
        "id": 100,
        "amount": 9007199254740993,
        "paid_at": datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        "payload": b"\x00\xff",
    }
    (row,) = visitor.table("ledger").insert(payment).execute().data
    assert row == {**payment, "paid_at": "2026-03-04T05:06:07+00:00", "payload": "\\x00ff"}


def test_rows_are_upserted(visitor: Client) -> None:
    shelves, tickets = visitor.table("shelves"), visitor.table("tickets")
    old = {"room": "py", "slot": 1, "content": "old"}
    new = {"room": "py", "slot": 1, "content": "new"}
    assert shelves.upsert(old).execute().data == [old]
    assert shelves.upsert([new, {**new, "slot": 2}]).order("slot").execute().data == [new, {**new, "slot": 2}]
    assert shelves.upsert(old, ignore_duplicates=True).execute().data == []
    assert shelves.insert(old, upsert=True).execute().data == [old]
    assert shelves.upsert(old, count=CountMethod.exact, returning=ReturnMethod.minimal).execute().count == 1
    tickets.insert({"seat": "py-b1", "note": "before"}).execute()
    upserted = tickets.upsert(
        [{"seat": "py-b1", "note": "after"}, {"seat": "py-b2", "price": 3}],
        on_conflict="seat",
        default_to_null=False,
    )
    rows = upserted.select("seat", "note", "price").order("seat").execute().data
    assert rows == [
        {"seat": "py-b1", "note": "after", "price": 25},
        {"seat": "py-b2", "note": None, "price": 3},
    ]


def test_rows_are_updated_and_deleted(visitor: Client) -> None:
    tickets = visitor.table("tickets")
    tickets.insert([{"seat": "py-c1"}, {"seat": "py-c2"}, {"seat": "py-c3"}]).execute()
    updated = tickets.update({"note": "seen"}, count=CountMethod.exact).in_("seat", ["py-c1", "py-c2"])
    answer = updated.select("seat", "note").order("seat").execute()
    assert (answer.data, answer.count) == (
        [{"seat": "py-c1", "note": "seen"}, {"seat": "py-c2", "note": "seen"}],
        2,
    )
    silent = tickets.update({"note": None}, returning=ReturnMethod.minimal).eq("seat", "py-c1").execute()
    assert silent.data == []
    refused = refusal(tickets.delete().like("seat", "py-c%").max_affected(2))
    assert (refused.code, refused.details) == ("PGRST124", "The query affects 3 rows")
    deleted = tickets.delete(count=CountMethod.exact).like("seat", "py-c%").max_affected(3)
    gone = deleted.select("seat").order("seat").execute()
    assert ([row["seat"] for row in gone.data], gone.count) == (["py-c1", "py-c2", "py-c3"], 3)
    assert tickets.delete(returning=ReturnMethod.minimal).eq("seat", "py-c1").execute().data == []


def test_routines_are_called(visitor: Client) -> None:
    assert visitor.rpc("hello", {}).execute().data == "hello"
    assert visitor.rpc("add_up", {"a": 1}).execute().data == 11
    assert visitor.rpc("total", {"numbers": [1, 2, 3]}).execute().data == 6
    assert visitor.rpc("mirror", {"a": [1, None]}).execute().data == {"a": [1, None]}
    assert visitor.rpc("split_name", {"full_name": "Ada Lovelace"}).execute().data == ADA
    assert visitor.rpc("nothing", {}).execute().data == []
    assert visitor.rpc("doubled", {"numbers": [1, 2]}, get=True).execute().data == [2, 4]
    assert visitor.rpc("pick", {"document": {"a": "b"}, "key": "a"}, get=True).execute().data == "b"


def test_rows_of_a_routine_are_queried_as_those_of_a_table(visitor: Client) -> None:
    def strings(**options: Any) -> Any:
        return visitor.rpc("players_of", {"section": 1}, **options)

    embedded = strings().select("name", "sections(name)").eq("name", "Bruno").execute().data
    assert embedded == [{"name": "Bruno", "sections": {"name": "Strings"}}]
    last = strings(count=CountMethod.exact).select("id").order("id", desc=True).limit(1).execute()
    assert (last.data, last.count) == ([{"id": 2}], 2)
    assert strings(get=True).select("id").order("id").range(1, 1).execute().data == [{"id": 2}]
    assert strings(head=True, count=CountMethod.exact).execute().count == 2
    assert strings().select("name").eq("id", 1).single().execute().data == {"name": "Anna"}
    assert strings().eq("id", 99).maybe_single().execute() is None
    assert strings().select("id", "name").order("id").csv().execute().data == "id,name\n1,Anna\n2,Bruno"


def test_schemas_are_changed_for_a_query_or_a_client(make_client: MakeClient, visitor: Client) -> None:
    archive = visitor.schema("archive")
    assert archive.from_("recordings").select("title").order("id").limit(1).execute().data == [
        {"title": "Acetate"}
    ]
    assert archive.rpc("oldest", {}).execute().data == "Acetate"
    archivist = make_client(schema="archive")
    assert archivist.table("recordings").select("id", count=CountMethod.exact, head=True).execute().count == 2
    refused = refusal(visitor.schema("cellar").table("bottles").select("*"))
    assert (refused.code, refused.hint) == (
        "PGRST106",
        "Only the following schemas are exposed: public, archive",
    )


def test_a_user_sees_their_own_rows_only(visitor: Client) -> None:
    assert visitor.table("diaries").select("body").execute().data == []
    account = visitor.auth.sign_up({"email": "py-diarist@orchestra.example", "password": "correct horse"})
    assert account.user is not None
    assert visitor.rpc("whoami", {}).execute().data == "authenticated"
    visitor.table("diaries").insert({"body": "mine"}).execute()
    mine = visitor.table("diaries").select("body", "owner_id").execute().data
    assert mine == [{"body": "mine", "owner_id": account.user.id}]
    other = UUID(int=1)
    refused = refusal(visitor.table("diaries").insert({"body": "theirs", "owner_id": other}))
    assert refused.code == "42501"


def test_errors_carry_code_message_details_and_hint(visitor: Client) -> None:
    tickets = visitor.table("tickets")
    tickets.insert({"seat": "py-d1"}).execute()
    assert refusal(tickets.insert({"seat": "py-d1"})).json() == {
        "code": "23505",
        "message": 'duplicate key value violates unique constraint "tickets_seat_key"',
        "details": "Key (seat)=(py-d1) already exists.",
        "hint": None,
    }
    assert refusal(tickets.insert({"colour": "red"})).code == "PGRST204"
    assert refusal(visitor.table("player").select("*")).hint == "Perhaps you meant the table 'public.players'"
    assert refusal(visitor.table("locked").select("*")).code == "42501"
    assert refusal(visitor.table("players").select("*").eq("id", "one")).code == "22P02"
    assert refusal(visitor.rpc("helo", {})).code == "PGRST202"
    raised = refusal(visitor.rpc("pay_first", {}))
    assert (raised.code, raised.message, raised.details, raised.hint) == (
        "PT402",
        "Payment is due",
        "Nothing was paid",
        "Buy a ticket",
    )
    assert refusal(visitor.rpc("tired", {}, get=True).retry(False)).code == "TIRED"


def test_no_method_of_the_builders_is_left_out() -> None:
    source = Path(__file__).read_text("utf-8")
    builders = (SyncRequestBuilder, SyncSelectRequestBuilder, SyncRPCFilterRequestBuilder)
    methods = {name for builder in builders for name in dir(builder) if not name.startswith("_")}
    assert len(methods) > 50
    assert {name for name in methods if f".{name}(" not in source and f".{name}." not in source} == set()


def refusal(query: Any) -> APIError:
    with pytest.raises(APIError) as caught:
        query.execute()
    return caught.value
