"""What rendering one template may cost. Every step of a template spends from the budget of its rendering: turns of
loops, operators, filters, calls, output. Since each step by itself is small (see `template_language`), looking at the
clock between them is enough to end any template in time.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from basalt.notify.errors import TemplateError

MAX_CPU_S = 0.25
MAX_TEXT_CHARS = 256 * 1024
MAX_STEPS = 200_000
CHARS_PER_STEP = 64

T = TypeVar("T")

_current: ContextVar["Budget"] = ContextVar("template_budget")


class Budget:
    """Steps and processor time of one rendering. The clock is the thread's own: a busy machine is not the template's
    fault."""

    def __init__(self) -> None:
        self._steps = MAX_STEPS
        self._end = time.thread_time() + MAX_CPU_S

    def spend(self, chars: int = 0) -> None:
        """Raises TemplateError template_too_slow."""
        self._steps -= 1 + chars // CHARS_PER_STEP
        if self._steps < 0:
            raise TemplateError("template_too_slow", f"it takes more than {MAX_STEPS} steps")
        if time.thread_time() > self._end:
            raise TemplateError("template_too_slow", f"it takes longer than {MAX_CPU_S:g} seconds")


@contextmanager
def spending() -> Iterator[Budget]:
    """A fresh budget for what is rendered inside."""
    token = _current.set(budget := Budget())
    try:
        yield budget
    finally:
        _current.reset(token)


def spend(chars: int = 0) -> None:
    _current.get().spend(chars)


def weigh(value: T) -> T:
    """The value, paid for by its length: before something that goes over it once."""
    spend(len(value) if isinstance(value, (str, Mapping, Sequence)) else 0)
    return value


def check_length(chars: int) -> None:
    """Raises TemplateError template_too_long."""
    if chars > MAX_TEXT_CHARS:
        raise TemplateError("template_too_long", f"a text grows over {MAX_TEXT_CHARS} characters")


def spend_on(value: object) -> None:
    """Spend what reading a value costs, a list or mapping with all that is in it."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                spend(len(text))
            case Mapping() as mapping:
                spend()
                waiting.extend(mapping.keys())
                waiting.extend(mapping.values())
            case Sequence() as sequence:
                spend()
                waiting.extend(sequence)
            case _:
                spend()
