"""Where secrets stand in `config.toml` itself, instead of `env(NAME)`."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from basalt.config.load import ENV_REFERENCE, SECTIONS
from basalt.config.setting import section_of_mapping


def find_literal_secrets(config_file: Path) -> list[str]:
    """Keys of secret settings whose value is written into the file. None where there is no file."""
    try:
        table = tomllib.loads(config_file.read_text("utf-8"))
    except FileNotFoundError:
        return []
    return [path for name, kind in SECTIONS.items() for path in _find(kind, table.get(name), name)]


def _find(kind: Any, table: object, prefix: str) -> Iterator[str]:
    if not isinstance(table, dict):
        return
    types = get_type_hints(kind)
    for spec in fields(kind):
        key = spec.metadata.get("key") or re.sub("_(s|bytes)$", "", spec.name)
        hint, value, path = types[spec.name], table.get(key), f"{prefix}.{key}"
        named = section_of_mapping(hint)
        if is_dataclass(hint):
            yield from _find(hint, value, path)
        elif named is not None and isinstance(value, dict):
            for name, inner in value.items():
                yield from _find(named, inner, f"{path}.{name}")
        elif spec.metadata.get("is_secret"):
            yield from _literals(value, path)


def _literals(value: object, path: str) -> Iterator[str]:
    """
    >>> list(_literals("hunter2", "a")), list(_literals("env(PASS)", "a")), list(_literals({"x": "y"}, "a"))
    (['a'], [], ['a.x'])
    """
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _literals(item, f"{path}.{name}")
    elif isinstance(value, str) and value and not ENV_REFERENCE.fullmatch(value):
        yield path
