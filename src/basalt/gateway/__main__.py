"""`python -m basalt.gateway DIR`: one gateway process, as the supervisor starts it."""

import argparse
from pathlib import Path

from basalt.gateway.serve import serve

parser = argparse.ArgumentParser(prog="basalt.gateway", description="Serve one Basalt project.")
parser.add_argument("directory", type=Path, help="the project's folder")
parser.add_argument("--exit-with-stdin", action="store_true", help="stop when standard input ends")
arguments = parser.parse_args()
serve(arguments.directory, exit_with_stdin=arguments.exit_with_stdin)
