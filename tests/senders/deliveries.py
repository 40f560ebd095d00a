"""What senders of mails are given."""

from collections.abc import Iterable
from typing import Any

from basalt.senders import Delivery, Outcome


def a_mail(number: int, **changes: Any) -> Delivery:
    given = {
        "key": f"d-{number}",
        "address": f"user{number}@example.com",
        "subject": "Streak",
        "body": "Go on",
    }
    return Delivery(**{**given, **changes})


def verdicts(outcomes: Iterable[Outcome]) -> list[str]:
    return [outcome.verdict for outcome in outcomes]
