"""Requests whose statement is looked at, and the parts of its text."""

import re
from dataclasses import replace
from typing import Any

from basalt.rest.run import Prepared
from tests.rest.planning import AGGREGATES, prepared

FULL = {"prefer": "return=representation"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
BYTES = {"content-type": "application/octet-stream"}
COUNTED = replace(AGGREGATES, db_max_rows=10)


def read(target: str, **kwargs: Any) -> Prepared:
    return prepared("GET", target, **kwargs)


def joined(text: str) -> str:
    """In one line."""
    return re.sub(r"\s+", " ", text).strip()


def source(found: Prepared) -> str:
    """What stands in the first common table: for a read the rows themselves."""
    text = joined(found.statement.text)
    depth = 0
    for place, char in enumerate(text):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == ")" and depth == 0:
            return text[len("with pgrst_source as (") : place].strip()
    raise AssertionError(text)


def main(found: Prepared) -> str:
    """What is made of the first common table."""
    return joined(found.statement.text).removeprefix(f"with pgrst_source as ({source(found)})").strip()
