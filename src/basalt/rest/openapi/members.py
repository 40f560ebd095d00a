"""The small change of the document: JSON objects in the making, and comments in two parts."""

Members = dict[str, object]


def filled(members: Members) -> Members:
    """Without what is empty, as PostgREST leaves it out; an empty text and False say something and stay.

    >>> filled({"name": "", "required": False, "enum": (), "items": {}, "description": None})
    {'name': '', 'required': False}
    """
    return {name: value for name, value in members.items() if value not in (None, [], {}, ())}


def split_comment(comment: str | None) -> tuple[str | None, str | None]:
    """The first line, and what follows it and any blank lines.

    >>> split_comment("Films\\n\\nAll that were\\never shown"), split_comment("Films"), split_comment(None)
    (('Films', 'All that were\\never shown'), ('Films', ''), (None, None))
    """
    if comment is None:
        return None, None
    line, _, rest = comment.partition("\n")
    return line, rest.lstrip("\n")
