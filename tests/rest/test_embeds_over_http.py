"""Embeds over HTTP: which relationships there are; what is filtered, ordered, spread and aggregated through them."""

from typing import Any

import httpx2
import pytest

from tests.rest.asking import case, refused, rows

pytestmark = pytest.mark.req("P5")

EXACT = {"prefer": "count=exact"}


# Which relationships there are


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        case(
            "a view that renames the key's column",
            "/fast_trains?select=title,lines(name)&order=title",
            [{"title": "Arrow", "lines": {"name": "North"}}, {"title": "Comet", "lines": {"name": "North"}}],
        ),
        case(
            "to such a view",
            "/lines?id=eq.1&select=fast_trains(title)&fast_trains.order=title",
            [{"fast_trains": [{"title": "Arrow"}, {"title": "Comet"}]}],
        ),
        case(
            "a view over a view",
            "/fastest_trains?select=name,lines(name)&name=eq.Comet",
            [{"name": "Comet", "lines": {"name": "North"}}],
        ),
        case(
            "from view to view",
            "/fast_trains?select=title,tickets(id)&title=eq.Arrow",
            [{"title": "Arrow", "tickets": [{"id": 4}]}],
        ),
        case(
            "a view of a join, by a key of one of its tables",
            "/line_cities?select=line,city,countries(name)&city=eq.Paris",
            [{"line": "West", "city": "Paris", "countries": {"name": "France"}}],
        ),
        case(
            "a view that is stored",
            "/city_sizes?select=population,countries(name)&city_id=eq.3",
            [{"population": 2100, "countries": {"name": "France"}}],
        ),
        case(
            "to a view that is stored",
            "/countries?select=code,city_sizes(city_id)&code=eq.DE&city_sizes.order=city_id",
            [{"code": "DE", "city_sizes": [{"city_id": 1}, {"city_id": 2}]}],
        ),
        case(
            "a partitioned table",
            "/tickets?select=class,trains(name)&id=eq.5",
            [{"class": "second", "trains": {"name": "Snail"}}],
        ),
        case(
            "to a partitioned table, and its rows in all partitions",
            "/trains?id=eq.1&select=tickets(class)&tickets.order=id",
            [{"tickets": [{"class": "first"}, {"class": "second"}, {"class": "second"}]}],
        ),
        case(
            "to a partitioned table by a key of two columns",
            "/refunds?id=eq.1&select=tickets(price)",
            [{"tickets": {"price": 20.0}}],
        ),
        case(
            "a key of two columns",
            "/arrivals?id=eq.1&select=platforms(number,length)",
            [{"platforms": {"number": 2, "length": 400}}],
        ),
        case(
            "a key of two columns, from the other side",
            "/platforms?city_id=eq.1&number=eq.2&select=arrivals(id)&arrivals.order=id",
            [{"arrivals": [{"id": 1}, {"id": 2}]}],
        ),
        case(
            "one row to one",
            "/crew?id=lt.3&select=licences(class)&order=id",
            [{"licences": {"class": "A"}}, {"licences": {"class": "B"}}],
        ),
        case(
            "one row to one, from the other side",
            "/licences?select=crew(name)&class=eq.B",
            [{"crew": {"name": "Bob"}}],
        ),
        case("one row to none", "/crew?id=eq.3&select=licences(class)", [{"licences": None}]),
        case(
            "through a junction",
            "/lines?id=eq.2&select=cities!stops(name)&cities.order=name",
            [{"cities": [{"name": "Munich"}, {"name": "Paris"}]}],
        ),
        case(
            "through a view of the junction",
            "/lines?id=eq.2&select=cities!way_stops(name)&cities.order=name",
            [{"cities": [{"name": "Munich"}, {"name": "Paris"}]}],
        ),
        case(
            "the junction itself",
            "/lines?id=eq.2&select=stops(place,cities(name))&stops.order=place",
            [
                {
                    "stops": [
                        {"place": 1, "cities": {"name": "Munich"}},
                        {"place": 2, "cities": {"name": "Paris"}},
                    ]
                }
            ],
        ),
    ],
)
def test_an_embed_follows_the_keys_below(api: httpx2.Client, path: str, expected: Any) -> None:
    assert rows(api, path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        case(
            "by the column, the one that is referred to",
            "/crew?id=eq.2&select=name,boss_id(name)",
            [{"name": "Bob", "boss_id": {"name": "Ada"}}],
        ),
        case(
            "by the table and the column, those that refer to it",
            "/crew?id=eq.1&select=staff:crew!boss_id(name)&staff.order=name",
            [{"staff": [{"name": "Bob"}, {"name": "Cy"}]}],
        ),
        case(
            "by the table alone where there is one key",
            "/trains?id=eq.2&select=trains(name)",
            [{"trains": [{"name": "Comet"}]}],
        ),
        case(
            "up and down again",
            "/crew?id=eq.4&select=boss_id(name,staff:crew!boss_id(name))",
            [{"boss_id": {"name": "Bob", "staff": [{"name": "Di"}]}}],
        ),
        case(
            "both keys at once",
            "/crew?id=eq.4&select=boss:boss_id(name),deputy:deputy_id(name)",
            [{"boss": {"name": "Bob"}, "deputy": {"name": "Cy"}}],
        ),
        case(
            "through a junction, from the side that the key names",
            "/crew?id=eq.1&select=partners:crew!pairings_crew_id_fkey(name)&partners.order=name",
            [{"partners": [{"name": "Bob"}, {"name": "Cy"}]}],
        ),
        case(
            "through a junction, from the side that the column names",
            "/crew?id=eq.1&select=partner_of:crew!partner_id(name)",
            [{"partner_of": [{"name": "Di"}]}],
        ),
    ],
)
def test_a_table_embeds_itself(api: httpx2.Client, path: str, expected: Any) -> None:
    assert rows(api, path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        case(
            "many rows",
            "/trains?id=eq.1&select=cheap_tickets(id)&cheap_tickets.order=id",
            [{"cheap_tickets": [{"id": 2}, {"id": 3}]}],
        ),
        case("one row", "/trains?id=eq.1&select=best_ticket(price)", [{"best_ticket": {"price": 50.0}}]),
        case("no row", "/trains?id=eq.4&select=best_ticket(price)", [{"best_ticket": None}]),
        case(
            "of its own kind, twice",
            "/crew?id=eq.4&select=partners(name,partners(name))&partners.partners.order=name",
            [{"partners": [{"name": "Ada", "partners": [{"name": "Bob"}, {"name": "Cy"}]}]}],
        ),
        case(
            "with what the rows refer to",
            "/trains?id=eq.1&select=best_ticket(trains(name))",
            [{"best_ticket": {"trains": {"name": "Comet"}}}],
        ),
        case(
            "inner",
            "/trains?select=name,best_ticket!inner(price)&best_ticket.price=gt.60",
            [{"name": "Arrow", "best_ticket": {"price": 90.0}}],
        ),
        case(
            "in the place of the key's",
            "/cities?id=eq.1&select=countries(name)",
            [{"countries": {"name": "a country of Berlin"}}],
        ),
        case("under another name", "/cities?id=eq.1&select=land:countries(code)", [{"land": {"code": "XX"}}]),
    ],
)
def test_a_function_is_a_relationship(api: httpx2.Client, path: str, expected: Any) -> None:
    assert rows(api, path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        case("selected", "/cities?id=eq.1&select=name,label", [{"name": "Berlin", "label": "Berlin (DE)"}]),
        case("by the table that it is for", "/lines?id=eq.1&select=label", [{"label": "Line North"}]),
        case("filtered by", "/cities?label=like.*(FR)&select=name", [{"name": "Paris"}]),
        case("ordered by", "/cities?select=name&order=label.desc&limit=1", [{"name": "Vienna"}]),
        case("within an embed", "/trains?id=eq.1&select=lines(label)", [{"lines": {"label": "Line North"}}]),
        case(
            "not part of everything",
            "/lines?id=eq.4",
            [{"id": 4, "name": "Ghost", "from_city_id": None, "to_city_id": None}],
        ),
    ],
)
def test_a_function_of_a_row_is_a_field(api: httpx2.Client, path: str, expected: Any) -> None:
    assert rows(api, path) == expected


def test_several_relationships_are_a_question(api: httpx2.Client) -> None:
    answer = api.get("/lines?select=cities(name)")
    body = answer.json()
    assert (answer.status_code, body["code"]) == (300, "PGRST201")
    assert [found["cardinality"] for found in body["details"]] == ["many-to-one"] * 2 + ["many-to-many"] * 2
    assert "'cities!lines_to_city_id_fkey', 'cities!stops', 'cities!way_stops'" in body["hint"]


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("cities!lines_to_city_id_fkey(name)", {"cities": {"name": "Munich"}}),
        ("cities!to_city_id(name)", {"cities": {"name": "Munich"}}),
        ("to_city_id(name)", {"to_city_id": {"name": "Munich"}}),
        ("lines_to_city_id_fkey(name)", {"lines_to_city_id_fkey": {"name": "Munich"}}),
        (
            "start:cities!from_city_id(name),end:to_city_id(name)",
            {"start": {"name": "Berlin"}, "end": {"name": "Munich"}},
        ),
    ],
)
def test_a_hint_answers_it(api: httpx2.Client, select: str, expected: Any) -> None:
    assert rows(api, f"/lines?id=eq.1&select={select}") == [expected]


def test_a_partition_is_no_table_of_its_own(api: httpx2.Client) -> None:
    assert refused(api.get("/tickets_first"))[1] == "PGRST205"


def test_what_is_not_related_cannot_be_embedded(api: httpx2.Client) -> None:
    assert refused(api.get("/trains?select=stops(place)")) == (400, "PGRST200")
    assert refused(api.get("/trains?select=tools(name)"))[1] == "PGRST200"


# Rows through an embed


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        case(
            "conditions on an embed leave the rows above alone",
            "/trains?id=lt.4&select=id,lines(name)&lines.name=eq.West&order=id",
            [{"id": 1, "lines": None}, {"id": 2, "lines": None}, {"id": 3, "lines": {"name": "West"}}],
        ),
        case(
            "unless it is inner",
            "/trains?select=id,lines!inner(name)&lines.name=eq.West",
            [{"id": 3, "lines": {"name": "West"}}],
        ),
        case(
            "inner over two levels",
            "/trains?select=name,tickets!inner(id,refunds!inner())&order=id",
            [{"name": "Comet", "tickets": [{"id": 2}]}, {"name": "Arrow", "tickets": [{"id": 4}]}],
        ),
        case(
            "a tree on an embed",
            "/trains?id=eq.1&select=tickets(id)&tickets.or=(price.gt.40,id.eq.2)&tickets.order=id",
            [{"tickets": [{"id": 1}, {"id": 2}]}],
        ),
        case(
            "order and window of an embed",
            "/trains?id=eq.1&select=tickets(id)&tickets.order=price.desc&tickets.limit=1&tickets.offset=1",
            [{"tickets": [{"id": 3}]}],
        ),
        case(
            "on the second level",
            "/lines?id=eq.1&select=stops(place,cities(name))&stops.order=place&stops.cities.name=eq.Munich",
            [{"stops": [{"place": 1, "cities": None}, {"place": 2, "cities": {"name": "Munich"}}]}],
        ),
        case(
            "by the alias of the embed", "/trains?select=id,way:lines!inner()&way.name=eq.West", [{"id": 3}]
        ),
        case("rows without", "/trains?select=name,tickets()&tickets=is.null", [{"name": "Spare"}]),
        case("rows with", "/trains?select=id,crew()&crew=not.is.null&order=id", [{"id": 1}, {"id": 2}]),
        case("rows without one", "/trains?select=id,lines()&lines=is.null", [{"id": 4}]),
        case(
            "rows without what a condition allows",
            "/trains?select=id,tickets()&tickets.class=eq.first&tickets=is.null&order=id",
            [{"id": 3}, {"id": 4}],
        ),
        case(
            "either of two embeds",
            "/trains?select=id,crew(),tickets()&or=(crew.not.is.null,tickets.is.null)&order=id",
            [{"id": 1}, {"id": 2}, {"id": 4}],
        ),
        case(
            "an embed or a column",
            "/trains?select=id,crew()&or=(crew.not.is.null,seats.eq.50)&order=id",
            [{"id": 1}, {"id": 2}, {"id": 3}],
        ),
        case(
            "neither", "/trains?select=id,crew(),tickets()&not.or=(crew.not.is.null,seats.eq.50)", [{"id": 4}]
        ),
        case(
            "order by the one row",
            "/trains?select=id,lines(name)&order=lines(name).desc.nullslast,id.desc&limit=2",
            [{"id": 3, "lines": {"name": "West"}}, {"id": 2, "lines": {"name": "North"}}],
        ),
        case(
            "order by something in its JSON",
            "/tickets?select=id,trains(data)&order=trains(data->power).desc.nullslast,id&limit=1",
            [{"id": 4, "trains": {"data": {"cars": [], "power": 8}}}],
        ),
        case("nothing of it is shown", "/trains?id=eq.1&select=id,lines()", [{"id": 1}]),
        case("nothing of anything is shown", "/trains?id=eq.1&select=lines(),tickets(refunds())", [{}]),
        case(
            "everything beside an embed",
            "/licences?crew_id=eq.1&select=*,crew(name)",
            [{"crew_id": 1, "class": "A", "crew": {"name": "Ada"}}],
        ),
    ],
)
def test_rows_and_their_embeds(api: httpx2.Client, path: str, expected: Any) -> None:
    assert rows(api, path) == expected


@pytest.mark.parametrize(
    ("path", "content_range"),
    [
        case("of an inner embed", "/trains?select=id,tickets!inner(id)&limit=1", "0-0/3"),
        case(
            "of an inner embed with conditions",
            "/trains?select=id,tickets!inner(id)&tickets.price=gt.40&limit=1",
            "0-0/2",
        ),
        case("of rows without", "/trains?select=id,tickets()&tickets=is.null&limit=1", "0-0/1"),
        case(
            "of a tree over embeds",
            "/trains?select=id,crew(),tickets()&or=(crew.not.is.null,tickets.is.null)&limit=1",
            "0-0/3",
        ),
        case(
            "of other rows the embeds are nothing to",
            "/trains?select=id,tickets(id)&tickets.price=gt.40&limit=1",
            "0-0/4",
        ),
    ],
)
def test_a_count_is_of_the_rows_that_embeds_leave(api: httpx2.Client, path: str, content_range: str) -> None:
    assert api.get(path, headers=EXACT).headers["content-range"] == content_range


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/trains?select=name&tickets=is.null", "42703"),
        ("/trains?select=name,tickets()&tickets=eq.1", "42703"),
        ("/trains?select=name&tickets.id=eq.1", "PGRST108"),
        ("/trains?select=name,tickets(id)&tickets.refunds.id=eq.1", "PGRST108"),
        ("/trains?select=name&order=lines(name)", "PGRST108"),
        ("/trains?select=name,tickets(id)&order=tickets(id)", "PGRST118"),
    ],
)
def test_what_cannot_be_asked_of_an_embed(api: httpx2.Client, path: str, code: str) -> None:
    assert refused(api.get(path))[1] == code


def test_the_table_of_an_embed_with_an_alias_still_names_it_and_is_warned_of(api: httpx2.Client) -> None:
    answer = api.get("/trains?select=name,way:lines!inner(id)&lines.name=eq.West")
    assert answer.json() == [{"name": "Snail", "way": {"id": 2}}]
    assert "Update `lines` to `way`" in answer.headers["warning"]
    assert "warning" not in api.get("/trains?select=name,way:lines(id)&way.name=eq.West").headers


# Spreads


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        case(
            "of one row",
            "/trains?id=gt.2&select=name,...lines(line:name)&order=id",
            [{"name": "Snail", "line": "West"}, {"name": "Spare", "line": None}],
        ),
        case(
            "of one row, everything",
            "/crew?id=gt.1&id=lt.4&select=name,...licences(*)&order=id",
            [{"name": "Bob", "crew_id": 2, "class": "B"}, {"name": "Cy", "crew_id": None, "class": None}],
        ),
        case(
            "within a spread",
            "/trains?id=eq.1&select=...lines(line:name,...cities!from_city_id(start:name))",
            [{"line": "North", "start": "Berlin"}],
        ),
        case(
            "with an embed in it",
            "/tickets?id=eq.4&select=id,...trains(name,lines(name))",
            [{"id": 4, "name": "Arrow", "lines": {"name": "North"}}],
        ),
        case(
            "of one row that a function gives",
            "/trains?id=eq.1&select=name,...best_ticket(price)",
            [{"name": "Comet", "price": 50.0}],
        ),
        case(
            "of many rows",
            "/lines?select=name,...trains(train:name,seats)&trains.order=name&order=id&limit=3",
            [
                {"name": "North", "train": ["Arrow", "Comet"], "seats": [200, 100]},
                {"name": "West", "train": ["Snail"], "seats": [50]},
                {"name": "Ring", "train": [], "seats": []},
            ],
        ),
        case(
            "of many rows, in the order of another column",
            "/lines?id=eq.1&select=...trains(name)&trains.order=speed.desc",
            [{"name": ["Arrow", "Comet"]}],
        ),
        case(
            "of many rows, in the order of a row embedded in them",
            "/trains?id=eq.1&select=...crew(name,licences(class))&crew.order=licences(class).desc",
            [{"name": ["Bob", "Ada"], "licences": [{"class": "B"}, {"class": "A"}]}],
        ),
        case(
            "of the first of many rows",
            "/trains?id=eq.1&select=...tickets(price)&tickets.order=price.desc&tickets.limit=2",
            [{"price": [50.0, 30.0]}],
        ),
        case(
            "of many rows with nulls among them",
            "/lines?id=eq.1&select=...trains(name,...replaced_by(next:name))&trains.order=name",
            [{"name": ["Arrow", "Comet"], "next": [None, "Arrow"]}],
        ),
        case(
            "through a junction",
            "/lines?id=eq.2&select=name,...cities!stops(city:name)&cities.order=name.desc",
            [{"name": "West", "city": ["Paris", "Munich"]}],
        ),
        case(
            "of many within many",
            "/lines?id=eq.1&select=...trains(name,...tickets(price))&trains.order=name&trains.tickets.order=price",
            [{"name": ["Arrow", "Comet"], "price": [[90.0], [20.0, 30.0, 50.0]]}],
        ),
        case(
            "everything of many rows",
            "/trains?id=eq.4&select=id,...arrivals(*)",
            [{"id": [], "train_id": [], "city_id": [], "platform": []}],
        ),
        case(
            "inner",
            "/lines?select=id,...trains!inner(name)&trains.seats=eq.50",
            [{"id": 2, "name": ["Snail"]}],
        ),
        case(
            "with conditions",
            "/trains?select=id,...lines(line:name)&lines.name=eq.West&id=in.(1,3)&order=id",
            [{"id": 1, "line": None}, {"id": 3, "line": "West"}],
        ),
    ],
)
def test_spreads(api: httpx2.Client, path: str, expected: Any) -> None:
    assert rows(api, path) == expected


# Aggregates


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        case("of all rows", "/trains?select=count()", [{"count": 4}]),
        case("of a column without its nulls", "/trains?select=speed.count()", [{"count": 3}]),
        case(
            "of every kind",
            "/trains?select=seats.sum(),seats.max(),seats.min(),mean:seats.avg()::int",
            [{"sum": 430, "max": 200, "min": 50, "mean": 108}],
        ),
        case("of the rows that filters leave", "/trains?select=seats.sum()&tags=cs.{red}", [{"sum": 300}]),
        case("of no rows", "/trains?select=count(),seats.sum()&id=eq.99", [{"count": 0, "sum": None}]),
        case(
            "in groups",
            "/tickets?select=class,price.sum()&order=class",
            [{"class": "first", "sum": 140.0}, {"class": "second", "sum": 60.0}],
        ),
        case(
            "in groups by an alias",
            "/tickets?select=kind:class,n:count()&order=class",
            [{"kind": "first", "n": 2}, {"kind": "second", "n": 3}],
        ),
        case(
            "in groups by a function of the row",
            "/lines?select=label,count()&id=eq.1",
            [{"label": "Line North", "count": 1}],
        ),
        case(
            "in groups by something in JSON",
            "/trains?select=data->power,count()&data->power=gt.1",
            [{"power": 8, "count": 1}],
        ),
        case("of something in JSON", "/trains?select=data->>power::int.sum()", [{"sum": 9}]),
        case("cast", "/tickets?select=price::int.sum()::text", [{"sum": "200"}]),
        case(
            "within an embed",
            "/trains?id=eq.1&select=name,tickets(class,price.sum())&tickets.order=class",
            [
                {
                    "name": "Comet",
                    "tickets": [{"class": "first", "sum": 50.0}, {"class": "second", "sum": 50.0}],
                }
            ],
        ),
        case(
            "alone within an embed",
            "/trains?select=name,tickets(count())&order=id&id=gt.2",
            [{"name": "Snail", "tickets": [{"count": 1}]}, {"name": "Spare", "tickets": [{"count": 0}]}],
        ),
        case(
            "in groups by a spread",
            "/tickets?select=price.max(),...trains(name)&train_id=in.(2,3)&order=trains(name)",
            [{"max": 90.0, "name": "Arrow"}, {"max": 10.0, "name": "Snail"}],
        ),
        case(
            "in a spread of one row",
            "/tickets?select=class,...trains(seats.sum())&order=class",
            [{"class": "first", "sum": 300}, {"class": "second", "sum": 250}],
        ),
        case(
            "with the window of the groups",
            "/tickets?select=class,count()&order=class.desc&limit=1",
            [{"class": "second", "count": 3}],
        ),
    ],
)
def test_aggregates(api: httpx2.Client, path: str, expected: Any) -> None:
    assert rows(api, path) == expected


def test_groups_by_an_embed(api: httpx2.Client) -> None:
    found = rows(api, "/tickets?select=price.sum(),trains(name)")
    assert sorted(found, key=lambda row: row["trains"]["name"]) == [
        {"sum": 90.0, "trains": {"name": "Arrow"}},
        {"sum": 100.0, "trains": {"name": "Comet"}},
        {"sum": 10.0, "trains": {"name": "Snail"}},
    ]


def test_an_aggregate_rises_through_spreads(api: httpx2.Client) -> None:
    found = rows(api, "/tickets?select=...trains(...lines(name,count()))")
    assert sorted(found, key=lambda row: row["name"]) == [
        {"name": "North", "count": 4},
        {"name": "West", "count": 1},
    ]


@pytest.mark.parametrize(
    "select", ["line_id,...tickets(price.sum())", "...tickets(count())", "...tickets(...trains(seats.max()))"]
)
def test_an_aggregate_in_a_spread_of_many_rows_is_refused(api: httpx2.Client, select: str) -> None:
    assert refused(api.get(f"/trains?select={select}"))[1] == "PGRST127"
