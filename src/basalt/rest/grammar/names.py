"""Names, alone and in lists, and fields: a name with the path into its JSON."""

import re
from functools import lru_cache
from typing import NoReturn, cast

from basalt.rest.errors import RestError
from basalt.rest.grammar.text import CACHED_TEXTS, END, Text, over_limit, read_text
from basalt.rest.query import EmbedPath, FieldRef, JsonStep, LogicOperator

MAX_DIGITS = 9  # of an index into a JSON array

WORD = r"(?:[^\W\d]|[0-9 $])+"  # letters of any script, digits, `_`, `$` and inner spaces
NAME = re.compile(rf"{WORD}(?:-(?!>){WORD})*")
TYPE = re.compile(WORD)
QUOTED = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_JSON_KEY = re.compile(r"[^(\-:.,>)]+(?:-(?!>)[^(\-:.,>)]+)*")
_JSON_INDEX = re.compile(r"-?[0-9]+(?=->|::|[.,]|\Z)")
_JSON_DIGITS = re.compile(r"-?[0-9]*")

FIELD_NAME = "field name (* or [a..z0..9_$])"
NAME_GOES_ON = ("letter", "digit", '"-"')
ARROWS = ('"->>"', '"->"')
DELIMITER = "delimiter (.)"


@lru_cache(maxsize=CACHED_TEXTS)
def _parse_short_path(text: str) -> tuple[EmbedPath, FieldRef]:
    return read_text(text, "tree path", _read_tree_path)


def parse_path(text: str) -> tuple[EmbedPath, FieldRef]:
    """The name of a filter's parameter: the embeds that lead to it and the field.

    >>> parse_path("actors.roles.data->>a")
    (('actors', 'roles'), FieldRef(name='data', json_path=(JsonStep(key='a', as_text=True),)))
    """
    if len(text) <= 256:
        return _parse_short_path(text)
    return read_text(text, "tree path", _read_tree_path)


def parse_logic_path(text: str) -> tuple[EmbedPath, LogicOperator, bool]:
    """The name of a logic parameter: the embeds, the operator, whether it is negated.

    >>> parse_logic_path("actors.not.or")
    (('actors',), 'or', True)
    """
    *path, operator = read_text(text, "logic path", _read_dotted)
    if operator not in ("and", "or"):  # quoted, such as "a.or"
        raise RestError("PGRST100", problem=f'"failed to parse logic path ({text})" (line 1, column 1)')
    embeds = tuple(name for name in path if name != "not")
    return embeds, cast(LogicOperator, operator), "not" in path


def parse_names(text: str, what: str) -> tuple[str, ...]:
    """Column names with commas between, each once: `columns`, `on_conflict`.

    >>> parse_names('id,"a,b",id', "columns parameter")
    ('id', 'a,b')
    """
    return tuple(dict.fromkeys(read_text(text, what, _read_names)))


def _read_dotted(source: Text) -> list[str]:
    names = [read_name(source)]
    while source.take("."):
        source.count()
        names.append(read_name(source))
    return names


def _read_tree_path(source: Text) -> tuple[EmbedPath, FieldRef]:
    *path, name = _read_dotted(source)
    return tuple(path), FieldRef(name, read_json_path(source))


def _read_names(source: Text) -> list[str]:
    names = [read_name(source)]
    while source.take_comma():
        names.append(read_name(source))
    return names


# Names


def read_name(source: Text) -> str:
    found = NAME.match(source.text, source.at)
    if found is not None:
        source.at = found.end()
        return _stripped(found[0])
    if source.has('"'):
        return read_quoted(source)
    return source.fail(FIELD_NAME)


def _stripped(text: str) -> str:
    """Spaces around a name and around its dashes do not count."""
    if "-" in text:
        return "-".join(part.strip() for part in text.split("-"))
    return text.strip()


def read_quoted(source: Text) -> str:
    found = QUOTED.match(source.text, source.at)
    if found is None:
        source.fail('"\\""', at=len(source.text))
    source.at = found.end()
    return unescaped(found[1])


def unescaped(text: str) -> str:
    return _ESCAPE.sub(r"\1", text) if "\\" in text else text


# Fields


def read_field(source: Text) -> FieldRef:
    source.skip_spaces()
    name = read_name(source)
    found = FieldRef(name, read_json_path(source))
    source.skip_spaces()
    return found


def read_json_path(source: Text) -> tuple[JsonStep, ...]:
    steps = []
    while source.take("->"):
        source.count()
        as_text = source.take(">")
        steps.append(JsonStep(_read_json_key(source), as_text))
    return tuple(steps)


def _read_json_key(source: Text) -> str | int:
    index = _JSON_INDEX.match(source.text, source.at)
    if index is not None:
        if index.end() - index.start() > MAX_DIGITS:
            raise over_limit(source.what, f"has an index of more than {MAX_DIGITS} digits")
        source.at = index.end()
        return int(index[0])
    key = _JSON_KEY.match(source.text, source.at)
    if source.has('"'):
        return read_quoted(source)
    if key is None:
        return _fail_json_key(source)
    source.at = key.end()
    return _stripped(key[0])


def _fail_json_key(source: Text) -> NoReturn:
    digits = _JSON_DIGITS.match(source.text, source.at)
    assert digits is not None
    if digits[0] == "-":
        source.fail("digit", at=digits.end())
    if digits[0]:
        source.fail("digit", '"->"', '"::"', '"."', '","', END, at=digits.end())
    source.fail('"-"', "digit", "any non reserved character different from: .,>()")


def fail_after_field(source: Text, name_end: int, *follow: str) -> NoReturn:
    """Something stands behind a field that belongs neither to it nor after it."""
    text = source.text
    if source.at > 0 and source.has("-") and text[source.at - 1] not in '"':
        source.fail("letter", "digit", at=source.at + 1)
    if source.at > name_end:  # a JSON path was read
        is_index = text[source.at - 1 : source.at].isdigit()
        source.fail(*(("digit",) if is_index else ('"-"',)), *ARROWS, *follow)
    source.fail(*(() if text[name_end - 1 : name_end] == '"' else NAME_GOES_ON), *ARROWS, *follow)
