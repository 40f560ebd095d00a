"""What a function's imports lead to: the project's own import map, with a few addresses led to files of ours.

Those are `std/http/server.ts`, whose `serve` uses what Deno 2 no longer has, and modules that only declare types, which
would have to be fetched over the network for nothing. An import map names whole addresses only, so the sources are
searched for the ones that they use.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

HERE = Path(__file__).parent
STD_SERVER = HERE / "std_http_server.js"
ONLY_TYPES = HERE / "only_types.js"
SOURCES = (".ts", ".tsx", ".mts", ".js", ".jsx", ".mjs")

SPECIFIER = re.compile(r"""\b(?:from|import)\s*\(?\s*["']([^"'\s]+)["']""")
STD_SERVER_URL = re.compile(r"https://deno\.land/std(@[^/]+)?/http/server\.ts")
TYPES_ONLY = re.compile(r"(?!\.{0,2}/).+\.d\.ts(\?.*)?")
PACKAGE = re.compile(r"(npm|jsr):/?((?:@[^/]+/)?[^/]+)")
JSON_NOISE = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')


@dataclass(frozen=True)
class ImportMap:
    """Addresses are absolute."""

    imports: Mapping[str, str] = field(default_factory=dict)
    scopes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def resolve(self, specifier: str) -> str:
        """Without scopes.

        >>> ImportMap({"std/": "https://deno.land/std@0.1.0/"}).resolve("std/http/server.ts")
        'https://deno.land/std@0.1.0/http/server.ts'
        """
        if specifier in self.imports:
            return self.imports[specifier]
        prefixes = [key for key in self.imports if key.endswith("/") and specifier.startswith(key)]
        longest = max(prefixes, key=len, default="")
        return self.imports[longest] + specifier.removeprefix(longest) if longest else specifier


def find_import_map(function_dir: Path, functions_dir: Path) -> Path | None:
    """The nearest: the function's own, else the one of all functions."""
    candidates = [
        function_dir / "deno.json",
        function_dir / "deno.jsonc",
        function_dir / "import_map.json",
        functions_dir / "import_map.json",
        functions_dir / "deno.json",
        functions_dir / "deno.jsonc",
    ]
    return next((path for path in candidates if path.is_file()), None)


def load_import_map(path: Path) -> ImportMap:
    """Of an import map or a `deno.json`, which may name an import map. Raises ValueError with the file's name."""
    try:
        tree = parse_jsonc(path.read_text("utf-8"))
        if "importMap" in tree and "imports" not in tree:
            return load_import_map(path.parent / tree["importMap"])
        imports, scopes = tree.get("imports") or {}, tree.get("scopes") or {}
        base = path.as_uri()
        return ImportMap(
            _absolute(imports, base),
            {urljoin(base, scope): _absolute(entries, base) for scope, entries in scopes.items()},
        )
    except (OSError, ValueError, TypeError, AttributeError) as exc:
        raise ValueError(f"{path.name}: {exc}") from exc


def parse_jsonc(text: str) -> dict[str, Any]:
    """JSON with comments and trailing commas, as `deno.jsonc` has it.

    >>> parse_jsonc('{"a": "//x", /* y */ "b": [1, 2,], // z\\n}')
    {'a': '//x', 'b': [1, 2]}
    """
    plain = JSON_NOISE.sub(lambda match: match[1] or " ", text)
    tree = json.loads(TRAILING_COMMA.sub(lambda match: match[1] or "", plain))
    if not isinstance(tree, dict):
        raise ValueError("an object is expected")
    return tree


def _absolute(entries: Mapping[str, str], base: str) -> dict[str, str]:
    """`pkg` of a registry also stands for `pkg/…`, as Deno reads it in `deno.json`.

    >>> _absolute({"@/": "./src/", "x": "npm:x@1"}, "file:///f/deno.json")
    {'@/': 'file:///f/src/', 'x': 'npm:x@1', 'x/': 'npm:/x@1/'}
    """
    found = {}
    for key, address in entries.items():
        found[_absolute_path(key, base)] = _absolute_path(address, base)
        package = PACKAGE.fullmatch(address)
        if package and not key.endswith("/") and f"{key}/" not in entries:
            found[f"{key}/"] = f"{package[1]}:/{package[2]}/"
    return found


def _absolute_path(address: str, base: str) -> str:
    return urljoin(base, address) if address.startswith(("./", "../", "/")) else address


def lead_to_ours(project: ImportMap, specifiers: Iterator[str]) -> ImportMap:
    """The project's map, with what `specifiers` and its own addresses say of the modules that we stand for."""
    imports = {key: _ours(address) or address for key, address in project.imports.items()}
    for specifier in specifiers:
        if ours := _ours(specifier) or _ours(project.resolve(specifier)):
            imports[specifier] = ours
    return ImportMap(imports, project.scopes)


def _ours(address: str) -> str | None:
    if STD_SERVER_URL.fullmatch(address):
        return STD_SERVER.as_uri()
    return ONLY_TYPES.as_uri() if TYPES_ONLY.fullmatch(address) else None


def find_specifiers(folder: Path) -> Iterator[str]:
    """What the sources in `folder` import, as far as it is written out.

    >>> SPECIFIER.findall('import "a.d.ts"; import { b } from \\'b\\'; await import("c")')
    ['a.d.ts', 'b', 'c']
    """
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "node_modules"]
        for name in files:
            if name.endswith(SOURCES):
                yield from SPECIFIER.findall(Path(root, name).read_text("utf-8", "replace"))
