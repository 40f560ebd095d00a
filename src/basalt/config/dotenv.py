"""`.env` files: `NAME=value` lines, quotes, comments and `export`, as the common tools write them."""

import re
from pathlib import Path

LINE = re.compile(
    r"""^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(?:'([^']*)'|"((?:[^"\\]|\\.)*)"|([^#\n]*?))\s*(?:\#.*)?$""",
    re.MULTILINE,
)
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def read_dotenv(path: Path) -> dict[str, str]:
    """The variables of a file; lines of another form are passed over."""
    return parse_dotenv(path.read_text("utf-8"))


def parse_dotenv(text: str) -> dict[str, str]:
    r"""Values without their quotes; escapes count in double quotes only, so a private key fits on one line.

    >>> parse_dotenv('A=1 # one\nexport B="x\\ny"\nC=\'a#b\'')
    {'A': '1', 'B': 'x\ny', 'C': 'a#b'}
    """
    return {name: _value(single, double, bare) for name, single, double, bare in LINE.findall(text)}


def _value(single: str, double: str, bare: str) -> str:
    if double:
        return re.sub(r"\\(.)", lambda match: ESCAPES.get(match[1], match[1]), double)
    return single or bare
