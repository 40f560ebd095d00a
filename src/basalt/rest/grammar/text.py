"""One text and the place reached in it: what every part of the grammar reads with, and how it refuses.

Errors are PGRST100 in Parsec's words, with line, column, what was unexpected and what was expected. Limits are checked
before work.
"""

import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from basalt.rest.errors import RestError

MAX_LENGTH = 64 * 1024
MAX_DEPTH = 32  # levels of embeds, levels of and/or
MAX_ITEMS = 4096  # fields, list values, conditions, steps of one parameter
CACHED_TEXTS = 2048
MAX_CACHED_LENGTH = 2048

_COMMA = re.compile(r"[ \t]*,[ \t]*")

END = "end of input"

T = TypeVar("T")


class Text:
    """A text with the place reached. `shown` is how an error quotes it."""

    __slots__ = ("at", "depth", "embeds", "items", "shown", "text", "what")

    def __init__(self, text: str, what: str, shown: str) -> None:
        self.text, self.what, self.shown = text, what, shown
        self.at = self.depth = self.embeds = self.items = 0

    def count(self) -> None:
        self.items += 1
        if self.items > MAX_ITEMS:
            raise over_limit(self.what, f"has more than {MAX_ITEMS} items")

    def enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise over_limit(self.what, f"is nested deeper than {MAX_DEPTH} levels")

    def skip_spaces(self) -> None:
        text = self.text
        while self.at < len(text) and text[self.at] in " \t":
            self.at += 1

    def has(self, literal: str) -> bool:
        return self.text.startswith(literal, self.at)

    def take(self, literal: str) -> bool:
        if self.text.startswith(literal, self.at):
            self.at += len(literal)
            return True
        return False

    def take_comma(self) -> bool:
        """Step over a comma and the spaces around it: another item follows."""
        found = _COMMA.match(self.text, self.at)
        if found is None:
            return False
        self.count()
        self.at = found.end()
        return True

    def fail(self, *expecting: str, at: int | None = None, found: int | None = None) -> NoReturn:
        """Raise PGRST100 in Parsec's words. `found` is where the unexpected character stands when that is
        not the place of the error, as in the middle of a word that was expected."""
        place = self.at if at is None else at
        found = place if found is None else found
        if found >= len(self.text):
            unexpected = "end of input"
        else:
            # Parsec quotes differently where the end would have been right.
            mark = "'" if END in expecting else '"'
            unexpected = mark + _escaped(self.text[found], mark) + mark
        before = self.text[:place]
        line, column = before.count("\n") + 1, place - (before.rfind("\n") + 1) + 1
        raise RestError(
            "PGRST100",
            problem=f'"failed to parse {self.what} ({self.shown})" (line {line}, column {column})',
            details=f"unexpected {unexpected}" + (f" expecting {_listed(expecting)}" if expecting else ""),
        )

    def fail_word(self, words: tuple[str, ...], *expecting: str) -> NoReturn:
        """One of several words was expected; Parsec blames the character where the first one differs."""
        word, common = words[0], 0
        while common < len(word) and self.text.startswith(word[common], self.at + common):
            common += 1
        self.fail(*(expecting or tuple(f'"{word}"' for word in words)), found=self.at + common)


def read_text(text: str, what: str, read: Callable[[Text], T], *, shown: str | None = None) -> T:
    if len(text) > MAX_LENGTH:
        raise over_limit(what, f"is longer than {MAX_LENGTH} characters")
    return read(Text(text, what, text if shown is None else shown))


def over_limit(what: str, problem: str) -> RestError:
    return RestError("PGRST100", problem=f"The {what} {problem}", hint="Ask for less in one request")


def _listed(words: tuple[str, ...]) -> str:
    unique = list(dict.fromkeys(words))
    return unique[0] if len(unique) == 1 else f"{', '.join(unique[:-1])} or {unique[-1]}"


def _escaped(char: str, mark: str) -> str:
    if char in ("\\", mark):
        return "\\" + char
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char)
    return named or (char if " " <= char <= "~" else f"\\{ord(char)}")
