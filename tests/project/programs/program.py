"""A program that is right, and lines that are wrong: mypy warns of every `type: ignore` that is not needed."""

from typing import assert_type, cast

import database as db
from postgrest import SyncPostgrestClient

person: db.PeopleInsert = {"name": "Ada", "email": "ada@example.com", "user-id": "x", "class": None}
nameless: db.PeopleInsert = {"email": "a@b"}  # type: ignore[typeddict-item]
identified: db.PeopleInsert = {"name": "Ada", "email": "a@b", "id": 1}  # type: ignore[typeddict-unknown-key]
angry: db.PeopleUpdate = {"mood": "angry"}  # type: ignore[typeddict-item]
empty: db.PeopleUpdate = {"score": None}  # type: ignore[typeddict-item]
renamed: db.PeopleUpdate = {"name": "Ada", "second_email": None, "mood": "sad"}
elsewhere: db.ApiPeopleInsert = {"id": 1, "mood": "sad"}
arguments: db.FindPeopleArgs = {"p_mood": "happy"}
wrong: db.FindPeopleArgs = {"p_limit": 1}  # type: ignore[typeddict-item]


def write(client: SyncPostgrestClient) -> db.PeopleRow:
    client.table("people").insert(person).execute()
    client.table("people").update(renamed).eq("id", 1).execute()
    rows = cast(list[db.PeopleRow], client.table("people").select("*").execute().data)
    return rows[0]


def read(row: db.PeopleRow, view: db.MoodCountsRow, odd: db.OddTableRow, home: db.Address) -> None:
    assert_type(row["id"], int)
    assert_type(row["score"], float)
    assert_type(row["second_email"], str | None)
    assert_type(row["favourites"], list[db.Mood])
    assert_type(row["list"], list[str] | None)
    assert_type(row['Ünïcode "quoted"'], str | None)
    assert_type(view["people"], int | None)
    assert_type(odd["1st"], int)
    assert_type(home["moods"], list[db.Mood] | None)
    row["initial"]  # type: ignore[typeddict-item]


def call(found: db.FindPeopleReturns, summary: db.SummaryReturns, text: db.Overloaded2Returns) -> None:
    assert_type(found[0]["name"], str)
    assert_type(summary[0]["people"], int)
    assert_type(text, str)
