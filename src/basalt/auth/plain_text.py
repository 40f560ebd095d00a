"""HTML as plain text: the alternative part of a mail whose author wrote HTML only.

What is read aloud stays: text, the addresses of links, list marks, the words of images. What is hidden goes:
styles, and the preview lines that mails hide with `display:none`.
"""

import re
from html.parser import HTMLParser
from typing import Final

HIDDEN_ELEMENTS: Final = frozenset({"head", "style", "script", "template"})
VOID_ELEMENTS: Final = frozenset(
    "area base br col embed hr img input link meta source track wbr".split()  # noqa: SIM905
)
PARAGRAPHS: Final = frozenset("p h1 h2 h3 h4 h5 h6 ul ol table blockquote pre".split())  # noqa: SIM905
LINES: Final = frozenset("div tr li section article header footer main body center address dt dd".split())  # noqa: SIM905
IS_HIDDEN: Final = re.compile(r"display\s*:\s*none|mso-hide\s*:\s*all", re.IGNORECASE)
SHOWN_SCHEMES: Final = ("http:", "https:", "mailto:")


def to_plain_text(html: str) -> str:
    """
    >>> to_plain_text('<h2>Hello</h2><p>Please <a href="https://x.co/?a=1&amp;b=2">confirm</a>:<br><b>123</b></p>')
    'Hello\\n\\nPlease confirm (https://x.co/?a=1&b=2):\\n123\\n'
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.text()


class _Reader(HTMLParser):
    """`_pieces` holds words and line breaks; `_hidden` the open elements from the outermost hidden one inwards."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._pieces: list[str] = []
        self._breaks = 0  # at the end of the pieces
        self._hidden: list[str] = []
        self._link: tuple[str, int] | None = None

    def text(self) -> str:
        lines = [" ".join(line.split()) for line in "".join(self._pieces).split("\n")]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in VOID_ELEMENTS:
            self._read_void(tag, values)
        elif self._hidden or tag in HIDDEN_ELEMENTS or IS_HIDDEN.search(values.get("style") or ""):
            self._hidden.append(tag)
        elif tag == "a":
            self._link = (values.get("href") or "", len(self._pieces))
        else:
            self._break(tag)
            if tag == "li":
                self._write("- ")
            elif tag in ("td", "th"):
                self._pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            if tag in self._hidden:
                del self._hidden[len(self._hidden) - 1 - self._hidden[::-1].index(tag) :]
        elif tag == "a":
            self._end_link()
        else:
            self._break(tag)

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._write(re.sub(r"\s+", " ", data))

    def _read_void(self, tag: str, values: dict[str, str | None]) -> None:
        if self._hidden:
            return
        if tag == "img":
            self._write(values.get("alt") or "")
        elif tag in ("br", "hr"):
            self._pieces.append("\n")
            self._breaks += 1

    def _end_link(self) -> None:
        """The address after the words, where it is not the words themselves."""
        if self._link is None:
            return
        address, start = self._link
        words = "".join(self._pieces[start:]).strip()
        self._link = None
        if address.lower().startswith(SHOWN_SCHEMES) and address.removeprefix("mailto:") != words:
            self._write(f" ({address})" if words else address)

    def _break(self, tag: str) -> None:
        wanted = 2 if tag in PARAGRAPHS else 1 if tag in LINES else 0
        if wanted > self._breaks:
            self._pieces.append("\n" * (wanted - self._breaks))
            self._breaks = wanted

    def _write(self, words: str) -> None:
        self._pieces.append(words)
        if words.strip():
            self._breaks = 0
