"""The language of templates: Jinja's, less whatever could run for long, grow without bound or look behind the data.

`compile_text` goes through the syntax tree before anything is compiled (`template_syntax`). Loops count their turns,
`~`, comparisons, slices and the other operators are bounded, and of objects only what `ATTRIBUTES` lists can be
reached. Nothing is computed while compiling.
"""

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from functools import lru_cache, wraps
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, Undefined, pass_context
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from basalt.notify.errors import TemplateError
from basalt.notify.template_budget import check_length, spend, weigh
from basalt.notify.template_filters import build_filters, check_printable, concatenate
from basalt.notify.template_syntax import MAX_NUMBER_BITS, restrict

MAX_SOURCE_CHARS = 64 * 1024
MAX_RANGE = 10_000

TESTS = (
    "boolean",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sequence",
    "string",
    "true",
    "undefined",
    "upper",
)
ATTRIBUTES: dict[type, frozenset[str]] = {
    str: frozenset(
        {
            "capitalize",
            "endswith",
            "lower",
            "lstrip",
            "rstrip",
            "split",
            "startswith",
            "strip",
            "title",
            "upper",
        }
    ),
    dict: frozenset({"get", "items", "keys", "values"}),
    LoopContext: frozenset({"first", "index", "index0", "last", "length", "revindex", "revindex0"}),
}


@lru_cache(maxsize=256)
def compile_text(source: str, *, is_html: bool) -> Template:
    """Raises TemplateError template_invalid; for one that is nested too deeply too."""
    if len(source) > MAX_SOURCE_CHARS:
        raise TemplateError("template_invalid", f"its text has over {MAX_SOURCE_CHARS} characters")
    environment = _HTML if is_html else _TEXT
    try:
        tree = environment.parse(source)
        code = environment.compile(restrict(tree, filters=environment.filters, tests=environment.tests))
        return environment.template_class.from_code(environment, code, environment.make_globals(None))
    except TemplateSyntaxError as exc:
        raise TemplateError("template_invalid", f"line {exc.lineno}: {exc.message}") from exc
    except (RecursionError, SyntaxError, MemoryError) as exc:
        raise TemplateError("template_invalid", "it is nested too deeply") from exc
    except ValueError as exc:
        raise TemplateError("template_invalid", "it has a number that is too long") from exc


def _count_turns(values: Any) -> Iterator[Any]:
    """What a loop goes over, each turn paid for."""
    if isinstance(values, (LoopContext, bool, int, float)) or values is None:
        raise TemplateError("template_failed", f"{type(values).__name__} is no list to loop over")
    for value in values:
        spend()
        yield value


def _bounded_range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > MAX_RANGE:
        raise TemplateError("template_too_slow", f"range() is longer than {MAX_RANGE}")
    return numbers


@pass_context  # with a context Jinja prints nothing while compiling
def _print(context: Context, value: Any) -> Any:
    return weigh(check_printable(value))


def _weighing(test: Any) -> Callable[..., bool]:
    @wraps(test)
    def weighing(*args: Any) -> bool:
        for value in args:
            weigh(value)
        is_so: bool = test(*args)
        return is_so

    return weighing


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        spend()
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            check_length(len(left) + len(right))
            spend(len(left) + len(right))
            return left + right
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            _check_bits(operator, left, right)
            return self.binop_table[operator](left, right)
        for operand in (left, right):
            if isinstance(operand, Undefined):
                operand._fail_with_undefined_error()
        kinds = f"{type(left).__name__} and {type(right).__name__}"
        raise TemplateError("template_failed", f"`{operator}` does not apply to {kinds}; `~` joins texts")

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A mapping's own keys come before its methods: `{{ order.items }}` is what the order holds."""
        if isinstance(obj, Undefined):
            obj._fail_with_undefined_error()
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        for kind, names in ATTRIBUTES.items():
            if isinstance(obj, kind) and attribute in names:
                return getattr(obj, attribute)
        if attribute.startswith("_") or hasattr(obj, attribute):
            raise TemplateError("template_failed", f"{attribute!r:.60} cannot be reached from a template")
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Undefined):
            obj._fail_with_undefined_error()
        if not isinstance(obj, (str, Mapping, Sequence)):
            return self.undefined(obj=obj, name=argument)
        try:
            return obj[argument]
        except (TypeError, LookupError):
            return self.undefined(obj=obj, name=argument)

    def is_safe_callable(self, obj: Any) -> bool:
        return obj is _bounded_range or _is_listed_method(obj)

    def call(self, context: Context, obj: Any, *args: Any, **named: Any) -> Any:
        for name in ("_loop_vars", "_block_vars"):  # Jinja's own, for functions that take its context
            named.pop(name, None)
        spend(sum(len(value) for value in (*args, *named.values()) if isinstance(value, str)))
        if isinstance(obj, Undefined):
            obj._fail_with_undefined_error()
        if not self.is_safe_callable(obj):
            raise TemplateError("template_failed", f"{type(obj).__name__} cannot be called")
        own = getattr(obj, "__self__", None)
        spend(len(own) if isinstance(own, (str, Mapping)) else 0)
        result = obj(*args, **named)
        return [*result] if isinstance(result, (ItemsView, KeysView, ValuesView)) else result


def _is_listed_method(obj: Any) -> bool:
    own, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
    return any(isinstance(own, kind) and name in names for kind, names in ATTRIBUTES.items())


def _check_bits(symbol: str, left: float, right: float) -> None:
    if not (isinstance(left, int) and isinstance(right, int)):
        return
    bits = left.bit_length() + right.bit_length()
    if symbol == "**":
        bits = left.bit_length() * abs(right) if abs(right) <= MAX_NUMBER_BITS else MAX_NUMBER_BITS + 1
    if bits > MAX_NUMBER_BITS:
        raise TemplateError("template_too_slow", f"`{symbol}` makes a number of over {MAX_NUMBER_BITS} bits")


def _build_environment(*, is_html: bool) -> _Environment:
    environment = _Environment(
        undefined=StrictUndefined,
        autoescape=is_html,
        finalize=_print,
        optimized=False,
        cache_size=0,
        keep_trailing_newline=False,
    )
    environment.filters = build_filters() | {
        "counted": _count_turns,
        "concatenated": concatenate,
        "weighed": weigh,
    }
    environment.tests = {name: _weighing(environment.tests[name]) for name in TESTS}
    environment.globals.clear()
    environment.globals["range"] = _bounded_range
    return environment


_TEXT = _build_environment(is_html=False)
_HTML = _build_environment(is_html=True)
