"""What is measured: the kinds of request, and the goals that the design has for them (§8)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

COLUMNS = "id,title,body,priority,created_at"
READ = f"/rest/v1/notes?select={COLUMNS}&order=id.desc&limit=20"
ARTICLES = range(1, 10_001)  # ids of articles, all of one person
PAST_THE_NOTES = range(100_001, 110_001)  # ids that no note reaches
JSON = {"Content-Type": "application/json"}
SLOW_S = 0.3

Figure = Literal["rate / pgbench", "rate / lite", "rate / plain", "p99 / p50", "p99 / plain", "rate"]


@dataclass(frozen=True)
class Goal:
    """The bound is the least rate (or share of a rate), or the most of a p99. A bare "rate" is asked for only
    where pgbench reaches it, because else disk or machine do not."""

    figure: Figure
    bound: float

    @property
    def is_at_most(self) -> bool:
        return self.figure.startswith("p99")


@dataclass(frozen=True)
class Scenario:
    """One kind of request; `{n}` in the target and in the body is each of `numbers`, in no order.

    `connections` are its own where that is the point. `beside` is what a second process sends meanwhile.
    `plain` is the title of what it is compared with: the same with one token and nothing beside.
    `as_many` has pgbench use as many connections as the load, for commits are flushed to the disk together.
    """

    name: str
    title: str
    target: str
    method: str = "GET"
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    numbers: range = range(0)
    connections: int | None = None
    fresh_tokens: bool = False
    beside: "Scenario | None" = None
    plain: str = ""
    as_many: bool = False
    goals: tuple[Goal, ...] = ()

    @property
    def suits_lite(self) -> bool:
        """How a server bears many connections or slow neighbours is compared with itself."""
        return self.connections is None and self.beside is None


SLOW = Scenario(
    "pause",
    "a slow routine",
    "/rest/v1/rpc/pause",
    method="POST",
    # It sleeps: one that computes would take a core from everybody, whatever the server does.
    body=json.dumps({"seconds": SLOW_S}),
    headers=JSON,
    connections=2,
)

SCENARIOS = (
    Scenario(
        "read",
        "read 20 rows",
        READ,
        goals=(Goal("rate / pgbench", 0.25), Goal("rate / lite", 15), Goal("p99 / p50", 10)),
    ),
    Scenario(
        "read-literals",
        "read 20 rows, another literal each time",
        f"{READ}&id=lt.{{n}}",
        numbers=PAST_THE_NOTES,
        goals=(Goal("rate / pgbench", 0.25),),
    ),
    Scenario(
        "read-tokens",
        "read 20 rows, another token each time",
        READ,
        fresh_tokens=True,
        plain="the same, one token",
        goals=(Goal("rate / plain", 0.6),),
    ),
    Scenario(
        "read-200",
        "read 20 rows, 200 connections",
        READ,
        connections=200,
        goals=(Goal("p99 / p50", 10),),
    ),
    Scenario(
        "read-beside-slow",
        f"read 20 rows beside {SLOW.connections} routines of {SLOW_S * 1000:.0f} ms",
        READ,
        beside=SLOW,
        plain="the same, nothing beside",
        goals=(Goal("p99 / plain", 2),),
    ),
    Scenario(
        "single",
        "single row, another id each time",
        "/rest/v1/articles?select=*&id=eq.{n}",
        headers={"Accept": "application/vnd.pgrst.object+json"},
        numbers=ARTICLES,
    ),
    Scenario(
        "embed",
        "embed",
        "/rest/v1/notes?select=id,title,comments(id,body)&order=id.desc&limit=20",
    ),
    Scenario(
        "embed-deep",
        "embed two levels deep",
        "/rest/v1/notes?select=id,title,comments(id,body,reactions(id,kind))&order=id.desc&limit=20",
    ),
    Scenario(
        "count",
        "read 20 rows, count=exact",
        READ,
        headers={"Prefer": "count=exact"},
    ),
    Scenario(
        "rpc",
        "call a routine",
        "/rest/v1/rpc/summarise_notes",
        method="POST",
        body='{"least_priority":3}',
        headers=JSON,
    ),
    # The same row each time, here and for pgbench: it is a new row all the same, with an id of its own.
    Scenario(
        "insert",
        "insert one row",
        "/rest/v1/entries",
        method="POST",
        body='{"title":"An entry","amount":12.50}',
        headers={**JSON, "Prefer": "return=minimal"},
        as_many=True,
        goals=(Goal("rate / pgbench", 0.4), Goal("rate", 3000)),
    ),
    # Another row each time: upserts of one row would wait for each other.
    Scenario(
        "upsert",
        "upsert one row",
        "/rest/v1/articles",
        method="POST",
        body='{"id":{n},"title":"An article, changed","amount":12.50}',
        headers={**JSON, "Prefer": "return=minimal,resolution=merge-duplicates"},
        numbers=ARTICLES,
        as_many=True,
    ),
    Scenario(
        "bulk-insert",
        "insert 1,000 rows at once",
        "/rest/v1/entries",
        method="POST",
        body=json.dumps([{"title": f"Entry {number}", "amount": number / 4} for number in range(1000)]),
        headers={**JSON, "Prefer": "return=minimal"},
        as_many=True,
    ),
)


def select_scenarios(names: str | None) -> list[Scenario]:
    """By a list with commas, in the order of the table; raises ValueError for a name that is none.

    >>> [scenario.name for scenario in select_scenarios("embed,read")]
    ['read', 'embed']
    """
    if names is None:
        return list(SCENARIOS)
    wanted = {name.strip() for name in names.split(",")}
    if unknown := wanted - {scenario.name for scenario in SCENARIOS}:
        raise ValueError(f"no scenario is called {', '.join(sorted(unknown))}")
    return [scenario for scenario in SCENARIOS if scenario.name in wanted]
