"""JSON values as Elixir's `inspect` shows them. Clients of Supabase Realtime know their parameters in error messages
by this form."""

import json

MAX_DEPTH = 16  # beyond it nothing that a subscription can mean differs, and a hostile join must not exhaust the stack


def render_term(value: object, depth: int = 0) -> str:
    """Tuples are Elixir's tuples; the keys of a map are sorted.

    >>> print(render_term([("name", "eq", 'a "b"', False)]))
    [{"name", "eq", "a \\"b\\"", false}]
    >>> print(render_term({"table": None, "event": "*"}))
    %{"event" => "*", "table" => nil}
    >>> render_term({})
    '%{}'
    """
    if depth > MAX_DEPTH:
        return "..."
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("#{", "\\#{")
    if isinstance(value, dict):
        pairs = (
            f"{render_term(key)} => {render_term(value[key], depth + 1)}" for key in sorted(value, key=str)
        )
        return f"%{{{', '.join(pairs)}}}"
    if isinstance(value, (list, tuple)):
        items = ", ".join(render_term(item, depth + 1) for item in value)
        return f"[{items}]" if isinstance(value, list) else f"{{{items}}}"
    if value is None:
        return "nil"
    return str(value).lower() if isinstance(value, bool) else str(value)
