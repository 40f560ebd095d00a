"""The `basalt` command. Each command parses its arguments and calls one function."""

import sys
from importlib import import_module

from basalt.cli.starting import start_at_once


def main() -> None:
    """The command line; `start` does not wait for its libraries."""
    start_at_once(sys.argv[1:])
    import_module("basalt.cli.main").main()


__all__ = ["main"]
