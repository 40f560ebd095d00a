"""The `basalt` command. Each command parses its arguments and calls one function."""

from basalt.cli.main import main

__all__ = ["main"]
