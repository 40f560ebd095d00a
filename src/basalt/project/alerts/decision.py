"""What a look at one value means, given what was known before: pure, so that every turn has a test.

Wrong: `pending`. Wrong for the rule's duration: `firing`, told. Well for the same duration: `resolved`, told. What goes
well and wrong within the duration changes nothing, so that no message comes of it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

# Of a rule that is told at once, or each single failure would be two messages.
LEAST_CALM = timedelta(seconds=60)

Move = Literal["begin", "fire", "forget", "calm", "relapse", "resolve", "stay"]


@dataclass(frozen=True, slots=True)
class Standing:
    """An open alert. `clear_since` is when it turned well, where it is firing."""

    state: Literal["pending", "firing"]
    pending_since: datetime
    clear_since: datetime | None = None


def decide(
    standing: Standing | None, *, is_wrong: bool, now: datetime, lasting: timedelta
) -> tuple[Move, ...]:
    """The moves, in their order; with no duration an alert begins and fires at once.

    >>> now = datetime(2030, 1, 1)
    >>> decide(None, is_wrong=True, now=now, lasting=timedelta(0))
    ('begin', 'fire')
    >>> decide(Standing("pending", now), is_wrong=False, now=now, lasting=timedelta(minutes=1))
    ('forget',)
    """
    match standing:
        case None:
            if not is_wrong:
                return ()
            return ("begin", "fire") if not lasting else ("begin",)
        case Standing(state="pending"):
            if not is_wrong:
                return ("forget",)
            return ("fire",) if now - standing.pending_since >= lasting else ("stay",)
        case Standing(clear_since=None):
            return ("stay",) if is_wrong else ("calm",)
        case Standing(clear_since=since):
            if is_wrong:
                return ("relapse",)
            return ("resolve",) if since is not None and now - since >= max(lasting, LEAST_CALM) else ()
