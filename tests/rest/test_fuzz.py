"""What no request may do to the pure part of REST, whatever its bytes: requests that once did it, requests that reach
every corner, and a few thousand mutations of them. `python -m tools.fuzz_rest` makes a million."""

from random import Random

import pytest

from basalt.rest.errors import RestError
from basalt.rest.request import parse_request
from basalt.rest.run import MAX_KEPT_LENGTH, prepare
from basalt.rest.sql.text import MAX_LENGTH
from tests.rest.cinema import SCHEMAS, STRICT, build_cinema
from tests.rest.examine import CINEMA_WORDS, Examiner, FindingError, check_statement, parse_message
from tests.rest.hostile import ACCEPTED, REFUSED, SEEDS, mutate

pytestmark = pytest.mark.req("P5")

MUTATIONS = 3000
CHAIN = 8


def chained_filters() -> bytes:
    """Each level asks eight times whether there are rows below it: eight to the power of eight conditions."""
    select = b"films!sequel_to(" * CHAIN + b"id" + b")" * CHAIN
    questions = b"(" + b",".join([b"films.is.null"] * 8) + b")"
    filters = b"&".join(b"films." * level + b"or=" + questions for level in range(CHAIN))
    return b"GET /films?select=" + select + b"&" + filters + b"\nPrefer: count=exact"


def list_of(piece: bytes, count: int) -> bytes:
    return b",".join([piece] * count)


def spread_in_order(count: int) -> bytes:
    return (
        b"GET /films?select=...awards(" + list_of(b"id", count) + b")&awards.order=" + list_of(b"id", count)
    )


# Each with what it once did.
REGRESSIONS = {
    "a statement of two gigabytes, from filters on embeds": chained_filters(),
    "a statement of 170 megabytes, from a spread's order repeated for each of its fields": spread_in_order(1500),
    "a spread's fields once more on each of thirty levels": (
        b"GET /films?select=" + b"...actors(...films(" * 15 + list_of(b"id", 1500) + b"))" * 15
    ),
    "all columns four thousand times": b"GET /films?select=count()," + list_of(b"*", 4000),
    "more parameters than the protocol has": (
        b"GET /films?select=id,awards!inner()&awards.data" + b"->a" * 4000 + b"=eq.1&" + b"awards=not.is.null&" * 20
        + b"limit=1\nPrefer: count=exact"
    ),
    "four hundred embeds, which PostgreSQL plans for minutes": (
        b"GET /films?select=" + b",".join(b"a%d:awards(id)" % number for number in range(400))
    ),
    "a window that is refused, of the shape of one that is not": (
        b"GET /films?limit=5&offset=5", b"GET /films?limit=0&offset=5"
    ),
    "a logic tree that is none, of the shape of one": (
        b"GET /films?or=csid.eq.7,id.eq.7)", b"GET /films?or=csid.eq.7,id.eq.1)"
    ),
    "a name of nothing but spaces": b"GET /films?select=%20,title&order=%20&%20=eq.1",
    "a cast to what is no word": b"GET /films?select=title::1a,year::0x1F,id::e",
    "quotes and comments everywhere": (
        b"GET /films?select=%22a%22%22b--%22:title,%22;%27%22&%22/*%22=eq.%27;--&order=%22%5C%22%22\nPrefer: timezone='"
    ),
}  # fmt: skip


@pytest.fixture
def examiner() -> Examiner:
    return Examiner()


@pytest.mark.parametrize("messages", REGRESSIONS.values(), ids=REGRESSIONS.keys())
def test_what_was_found_once_is_not_found_again(
    examiner: Examiner, messages: bytes | tuple[bytes, ...]
) -> None:
    for message in (messages,) if isinstance(messages, bytes) else messages:
        examiner.examine(message)


@pytest.mark.parametrize("message", ACCEPTED)
def test_requests_from_every_corner_are_harmless(examiner: Examiner, message: bytes) -> None:
    assert examiner.examine(message) == "accepted"


@pytest.mark.parametrize("message", REFUSED)
def test_requests_that_are_refused_are_harmless(examiner: Examiner, message: bytes) -> None:
    assert examiner.examine(message) != "accepted"


def test_mutations_of_requests_are_harmless(examiner: Examiner) -> None:
    random, pool = Random(20260101), list(SEEDS)
    accepted = 0
    for _ in range(MUTATIONS):
        message = mutate(random.choice(pool), random, pool)
        if examiner.examine(message) == "accepted":
            accepted += 1
            pool.append(message)
    assert MUTATIONS / 3 < accepted < MUTATIONS * 9 / 10, "most of them say something, and not all are right"


@pytest.mark.parametrize(
    "foreign",
    [
        "; drop table films",
        " -- ",
        " /* */ ",
        " or 'a' = 'a'",
        "pg_sleep(9)",
        '"secrets"',
        'U&"id"',
        "\n",
        "$0",
        "`",
    ],
)
def test_the_examiner_sees_what_is_not_ours(foreign: str) -> None:
    check_statement('select "id" from "films"', {"id", "films"}, CINEMA_WORDS)
    with pytest.raises(FindingError):
        check_statement(f'select "id" from "films"{foreign}', {"id", "films"}, CINEMA_WORDS)


def test_the_examiner_sees_two_meanings_of_one_shape(
    examiner: Examiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.rest.examine.shape_of", lambda letter, body: _Blurred(letter.path))
    examiner.examine(b"GET /films?select=id")
    with pytest.raises(FindingError, match="two statements"):
        examiner.examine(b"GET /films?select=title")


class _Blurred:
    """A shape that looks at the path alone."""

    values = None
    split = None

    def __init__(self, key: str) -> None:
        self.key = key


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (chained_filters(), "more than 101 subqueries"),
        (spread_in_order(500), f"more than {MAX_LENGTH} characters"),
        (b"GET /films?select=" + list_of(b"id", 1665), "More than 1664 fields"),
        (
            b"GET /films?select=" + b",".join(b"a%d:awards(id)" % number for number in range(101)),
            "more than 100 embeds",
        ),
    ],
    ids=["subqueries", "text", "fields", "embeds"],
)
def test_requests_for_statements_without_end_are_refused(message: bytes, problem: str) -> None:
    with pytest.raises(RestError, match=problem) as refused:
        prepare(parse_request(parse_message(message)[0], None, schemas=SCHEMAS), build_cinema(), STRICT)
    assert (refused.value.code, refused.value.status) == ("PGRST100", 400)


def test_long_statements_are_not_kept() -> None:
    fields = b",".join(b"a%d:title" % number for number in range(1000))
    request, body = parse_message(b"GET /films?select=" + fields)
    prepared = prepare(parse_request(request, body, schemas=SCHEMAS), build_cinema(), STRICT)
    assert len(prepared.statement.text) > MAX_KEPT_LENGTH
    assert not prepared.is_kept
