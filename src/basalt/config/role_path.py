r"""Where the role stands in a token's claims: a path in JSON, RFC 9535, or in PostgREST's older syntax.

`parse_role_path("$.realm.roles[?(@ == 'author')]")` gives a function from claims to the first value that the path
leads to. Of RFC 9535 there are names, indices, slices, wildcards, descendants and filters with comparisons, `&&`, `||`,
`!`, `search` and `match`. The older syntax starts with a dot: `.realm."the roles"[0]`, and may end in one filter,
`[?(@ ^== "web_")]`. PostgREST reads both: `docs/references/auth.rst`, "JWT Role Extraction".
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

NOTHING: Any = object()  # RFC 9535's word for what a query that finds no value gives

RolePath = Callable[[Mapping[str, Any]], Any]
Select = Callable[[Any, Any], Iterable[Any]]  # root, value → the values one step further
Segment = Callable[[Any, Iterable[Any]], Iterable[Any]]
Evaluate = Callable[[Any, Any], Any]  # root, current value → a value, or NOTHING
Test = Callable[[Any, Any], bool]

NAME = re.compile(r"[^\W\d]\w*")
OLDER_NAME = re.compile(r"(?:[^\W_]|[_$@])+")
OLDER_INDEX = re.compile(r"\d{1,9}", re.ASCII)
INTEGER = re.compile(r"-?(?:0|[1-9]\d*)", re.ASCII)
NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
SLICE = re.compile(r"(-?\d+)?\s*:\s*(-?\d+)?\s*(?::\s*(-?\d+)?)?", re.ASCII)
QUOTED = re.compile(r"'((?:[^'\\\x00-\x1f]|\\.)*)'|\"((?:[^\"\\\x00-\x1f]|\\.)*)\"")
OLDER_QUOTED = re.compile(r'"([^"]*)"')
ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})(?:\\u([Dd][89A-Fa-f][0-9A-Fa-f]{2}))?|(.))")
ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "/": "/", "\\": "\\", "'": "'", '"': '"'}
SPACE = re.compile(r"[ \t\r\n]*")
COMPARISON = re.compile(r"==|!=|<=|>=|<|>")
WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None}
MAX_LENGTH = 1000
MAX_NESTING = 20

Comparison = Callable[[Any, Any], bool]
COMPARISONS: Mapping[str, Comparison] = {
    "==": lambda left, right: _is_equal(left, right),
    "!=": lambda left, right: not _is_equal(left, right),
    "<": lambda left, right: _is_less(left, right),
    ">": lambda left, right: _is_less(right, left),
    "<=": lambda left, right: _is_less(left, right) or _is_equal(left, right),
    ">=": lambda left, right: _is_less(right, left) or _is_equal(left, right),
}
OLDER_COMPARISONS: Mapping[str, Callable[[str, str], bool]] = {
    "==^": str.endswith,
    "==": str.__eq__,
    "!=": str.__ne__,
    "^==": str.startswith,
    "*==": str.__contains__,
}


def parse_role_path(text: str) -> RolePath:
    """A function from claims to the role's value, `NOTHING` where the path leads nowhere. Raises ValueError.

    >>> role_of = parse_role_path("$.realm.roles[?(@ != 'other')]")
    >>> role_of({"realm": {"roles": ["other", "author"]}})
    'author'
    >>> parse_role_path('.realm."the roles"[1]')({"realm": {"the roles": ["other", "author"]}})
    'author'
    >>> parse_role_path("$.role")({}) is NOTHING
    True
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a path to the role is longer than {MAX_LENGTH} characters")
    if not text.startswith("$"):
        return _parse_older(_Cursor(text))
    cursor = _Cursor(text)
    cursor.take("$")
    segments = _parse_segments(cursor)
    cursor.expect_end()
    return lambda claims: next(iter(_follow(segments, claims, claims)), NOTHING)


class _Cursor:
    """A place in the text, and what can be asked of it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.nesting = 0

    def take(self, literal: str) -> bool:
        """Step over `literal` if it is next."""
        if not self.text.startswith(literal, self.at):
            return False
        self.at += len(literal)
        return True

    def match(self, pattern: "re.Pattern[str]") -> "re.Match[str] | None":
        found = pattern.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def is_next(self, *literals: str) -> bool:
        return self.text.startswith(literals, self.at)

    def skip_space(self) -> None:
        self.match(SPACE)

    def expect(self, literal: str) -> None:
        self.skip_space()
        if not self.take(literal):
            raise self.problem(f"{literal!r} expected")

    def expect_end(self) -> None:
        if self.at < len(self.text):
            raise self.problem("the path should end")

    def problem(self, what: str) -> ValueError:
        return ValueError(f"{self.text!r} is not a path to the role: {what} at position {self.at + 1}")


# RFC 9535: segments and selectors (§2.3, §2.5)


def _parse_segments(cursor: _Cursor) -> list[Segment]:
    segments: list[Segment] = []
    while True:
        before = cursor.at
        cursor.skip_space()
        if not cursor.is_next(".", "["):
            cursor.at = before
            return segments
        is_descendant = cursor.take("..")
        selectors = _parse_selectors(cursor, after_dots=is_descendant)
        segments.append(_descend(selectors) if is_descendant else _step(selectors))


def _parse_selectors(cursor: _Cursor, *, after_dots: bool) -> list[Select]:
    if cursor.take("["):
        selectors = [_parse_selector(cursor)]
        cursor.skip_space()
        while cursor.take(","):
            selectors.append(_parse_selector(cursor))
            cursor.skip_space()
        cursor.expect("]")
        return selectors
    if not after_dots:
        cursor.take(".")
    if cursor.take("*"):
        return [_every]
    name = cursor.match(NAME)
    if name is None:
        raise cursor.problem("a name, '*' or '[' expected")
    return [_named(name[0])]


def _parse_selector(cursor: _Cursor) -> Select:
    cursor.skip_space()
    if cursor.take("*"):
        return _every
    if cursor.take("?"):
        return _filtered(_parse_or(cursor))
    if cursor.is_next("'", '"'):
        return _named(_parse_quoted(cursor))
    if (slice_ := cursor.match(SLICE)) is not None:
        start, end, step = (int(part) if part else None for part in slice_.groups())
        return _sliced(slice(start, end, 1 if step is None else step))
    if (index := cursor.match(INTEGER)) is not None and index[0] != "-0":
        return _indexed(int(index[0]))
    raise cursor.problem("a quoted name, an index, '*' or '?' expected")


def _parse_quoted(cursor: _Cursor) -> str:
    found = cursor.match(QUOTED)
    if found is None:
        raise cursor.problem("a quoted text expected")
    try:
        return ESCAPE.sub(_unescape, found[1] if found[1] is not None else found[2])
    except (KeyError, UnicodeError) as exc:
        raise cursor.problem("an unknown escape stands before the end of the text") from exc


def _unescape(found: "re.Match[str]") -> str:
    high, low, char = found.groups()
    if char is not None:
        return ESCAPED[char]
    pair = bytes.fromhex(high + (low or ""))
    return pair.decode("utf-16-be")


def _follow(segments: Iterable[Segment], root: Any, value: Any) -> Iterable[Any]:
    values: Iterable[Any] = [value]
    for segment in segments:
        values = segment(root, values)
    return values


def _step(selectors: list[Select]) -> Segment:
    return lambda root, values: (
        found for value in values for select in selectors for found in select(root, value)
    )


def _descend(selectors: list[Select]) -> Segment:
    step = _step(selectors)
    return lambda root, values: (
        found for value in values for inner in _with_descendants(value) for found in step(root, [inner])
    )


def _with_descendants(value: Any) -> Iterator[Any]:
    """The value and all below it. A stack instead of recursion: the claims decide how deep it goes."""
    waiting = [value]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(reversed(list(_every(None, current))))


def _every(root: Any, value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _named(name: str) -> Select:
    return lambda root, value: [value[name]] if isinstance(value, dict) and name in value else ()


def _indexed(index: int) -> Select:
    return lambda root, value: (
        [value[index]] if isinstance(value, list) and -len(value) <= index < len(value) else ()
    )


def _sliced(part: slice) -> Select:
    return lambda root, value: value[part] if isinstance(value, list) and part.step != 0 else ()


def _filtered(test: Test) -> Select:
    return lambda root, value: (inner for inner in _every(root, value) if test(root, inner))


# RFC 9535: filters (§2.3.5)


def _parse_or(cursor: _Cursor) -> Test:
    tests = [_parse_and(cursor)]
    while _take_operator(cursor, "||"):
        tests.append(_parse_and(cursor))
    return lambda root, value: any(test(root, value) for test in tests)


def _parse_and(cursor: _Cursor) -> Test:
    tests = [_parse_test(cursor)]
    while _take_operator(cursor, "&&"):
        tests.append(_parse_test(cursor))
    return lambda root, value: all(test(root, value) for test in tests)


def _take_operator(cursor: _Cursor, operator: str) -> bool:
    cursor.skip_space()
    return cursor.take(operator)


def _parse_test(cursor: _Cursor) -> Test:
    cursor.nesting += 1
    if cursor.nesting > MAX_NESTING:
        raise cursor.problem("too many parentheses")
    cursor.skip_space()
    is_negated = not cursor.is_next("!=") and cursor.take("!")
    cursor.skip_space()
    test = _parse_positive_test(cursor, may_compare=not is_negated)
    cursor.nesting -= 1
    return (lambda root, value: not test(root, value)) if is_negated else test


def _parse_positive_test(cursor: _Cursor, *, may_compare: bool) -> Test:
    if cursor.take("("):
        inner = _parse_or(cursor)
        cursor.expect(")")
        return inner
    for name, method in (("search", re.Pattern.search), ("match", re.Pattern.fullmatch)):
        if cursor.take(f"{name}("):
            return _parse_pattern_test(cursor, method)
    left = _parse_operand(cursor)
    cursor.skip_space()
    operator = cursor.match(COMPARISON) if may_compare else None
    if operator is not None:
        return _compared(left.evaluate, COMPARISONS[operator[0]], _parse_operand(cursor).evaluate)
    if left.is_literal:
        raise cursor.problem("a comparison expected")
    return lambda root, value: left.evaluate(root, value) is not NOTHING


def _compared(left: Evaluate, compare: Comparison, right: Evaluate) -> Test:
    return lambda root, value: compare(left(root, value), right(root, value))


def _parse_pattern_test(cursor: _Cursor, method: Callable[[Any, str], object]) -> Test:
    """`search(@, '^au')`: a regular expression that stands in the settings, never in the token."""
    subject = _parse_operand(cursor)
    cursor.expect(",")
    cursor.skip_space()
    text = _parse_quoted(cursor)
    cursor.expect(")")
    try:
        pattern = re.compile(text)
    except re.error as exc:
        raise cursor.problem(f"a bad regular expression ({exc}) ends") from exc

    def test(root: Any, value: Any) -> bool:
        found = subject.evaluate(root, value)
        return isinstance(found, str) and method(pattern, found) is not None

    return test


class _Operand(NamedTuple):
    evaluate: Evaluate
    is_literal: bool


def _parse_operand(cursor: _Cursor) -> _Operand:
    cursor.skip_space()
    if cursor.is_next("@", "$"):
        is_root = not cursor.take("@") and cursor.take("$")
        segments = _parse_segments(cursor)

        def lead(root: Any, value: Any) -> Any:
            return next(iter(_follow(segments, root, root if is_root else value)), NOTHING)

        return _Operand(lead, is_literal=False)
    literal = _parse_literal(cursor)
    return _Operand(lambda root, value: literal, is_literal=True)


def _parse_literal(cursor: _Cursor) -> Any:
    if cursor.is_next("'", '"'):
        return _parse_quoted(cursor)
    if (number := cursor.match(NUMBER)) is not None:
        return float(number[0])
    for word, value in WORDS.items():
        if cursor.take(word):
            return value
    raise cursor.problem("'@', '$' or a value expected")


def _is_equal(left: Any, right: Any) -> bool:
    """Two absent values are equal; true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return left is right or bool(left == right)


def _is_less(left: Any, right: Any) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left < right
    return _is_number(left) and _is_number(right) and bool(left < right)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# PostgREST's older syntax (`Config/DeprecatedJSPath.hs`)


def _parse_older(cursor: _Cursor) -> RolePath:
    steps: list[Select] = []
    while cursor.at < len(cursor.text):
        if cursor.take("[?("):
            steps.append(_filtered(_parse_older_filter(cursor)))
            cursor.expect_end()
        elif cursor.take("["):
            index = cursor.match(OLDER_INDEX)
            if index is None or not cursor.take("]"):
                raise cursor.problem("an index expected")
            steps.append(_indexed(int(index[0])))
        else:
            steps.append(_named(_parse_older_key(cursor)))
    if not steps:
        raise cursor.problem("'$' or '.' expected")
    segments = [_step([select]) for select in steps]
    return lambda claims: next(iter(_follow(segments, claims, claims)), NOTHING)


def _parse_older_key(cursor: _Cursor) -> str:
    if not cursor.take("."):
        raise cursor.problem("'$', '.' or '[' expected")
    if (quoted := cursor.match(OLDER_QUOTED)) is not None:
        return quoted[1]
    name = cursor.match(OLDER_NAME)
    if name is None:
        raise cursor.problem("a name expected")
    return name[0]


def _parse_older_filter(cursor: _Cursor) -> Test:
    cursor.expect("@")
    cursor.skip_space()
    operator = next((each for each in OLDER_COMPARISONS if cursor.take(each)), None)
    if operator is None:
        raise cursor.problem(f"one of {', '.join(OLDER_COMPARISONS)} expected")
    cursor.skip_space()
    text = cursor.match(OLDER_QUOTED)
    if text is None or not cursor.take(")]"):
        raise cursor.problem("a quoted text and ')]' expected")
    compare, wanted = OLDER_COMPARISONS[operator], text[1]
    return lambda root, value: isinstance(value, str) and compare(value, wanted)
