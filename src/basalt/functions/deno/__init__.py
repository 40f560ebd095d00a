"""Functions written for Deno, under the same supervision as Python ones.

`start_deno` lays out a private folder (`launch`: the import map, a Unix socket, what is said on the command line) and
starts the `deno` binary, which loads `bootstrap.js` and then the function. `deno_process` speaks HTTP with it over the
socket (`exchange`) and reads its log.
"""

from basalt.functions.deno.binary import find_deno
from basalt.functions.deno.launch import DenoFunction
from basalt.functions.deno.start import start_deno

__all__ = ["DenoFunction", "find_deno", "start_deno"]
