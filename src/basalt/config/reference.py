"""The settings as a page of documentation: `python -m basalt.config.reference >
docs/reference/settings.md`."""

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from basalt.config.load import SECTIONS
from basalt.config.postgrest import ALIASES, DATABASE_SETTINGS, IDLE_VARIABLES, PARSERS
from basalt.config.setting import is_duration, key_of, section_of_mapping
from basalt.config.settings import FunctionSettings

INTRODUCTION = """\
# Settings

Basalt reads `supabase/config.toml` with the keys of the Supabase CLI; what is its own stands under `[basalt]`.
A value `"env(NAME)"` is looked up in the environment and in `.env`. Any key can be overridden by the environment:
`SUPABASE_` and the key in capitals with underscores (`SUPABASE_API_PORT`), or `BASALT_…` for those of
`[basalt]`. `DATABASE_URL` is `db.url`; `BASALT_STATE_DIR` moves the `.basalt/` folder. PostgREST's own variables
([below](#variables-of-postgrest)) count more than the file and less than these.

A duration is a number of seconds or a text such as `"1m30s"`, a size a number of bytes or a text such as
`"50MiB"`. A bad value stops the start with a message that names file, key and reason; an unknown key is
reported once.

This page is printed from the source by `python -m basalt.config.reference`.
"""

POSTGREST = """\
## Variables of PostgREST

Read as PostgREST reads them: lists by commas, `true`, `TRUE` or `1`, an empty text as if it were not set (an empty
`PGRST_DB_EXTRA_SEARCH_PATH` is an empty path). The database may set those of the last column with
`alter role … set pgrst.NAME` for the login role or in the function of `db_pre_config`; that counts most. A path
in `jwt_secret` (`@file`) is relative to `supabase/` in the file and to the working directory in a variable.

| variable | setting | also as | in the database |
| --- | --- | --- | --- |"""
APP_SETTINGS = "| `PGRST_APP_SETTINGS_NAME` | `basalt.rest.app_settings.name` |  |  |"
IDLE = """\

Accepted and without effect: {names}.
Basalt shares its connections between requests, opens lost ones again by itself and listens on TCP only.
"""


def render_reference() -> str:
    """The whole page as Markdown."""
    parts = [INTRODUCTION]
    for name, kind in [*SECTIONS.items(), ("functions.NAME", FunctionSettings)]:
        parts += _render_section(name, kind)
    return "\n".join([*parts, POSTGREST, *_render_variables(), APP_SETTINGS, _render_idle()])


def _render_section(name: str, kind: type) -> Iterator[str]:
    types = get_type_hints(kind)
    plain = [spec for spec in fields(kind) if _nested(types[spec.name]) is None]
    if plain:
        yield f"## [{name}]\n\n| key | default | meaning |\n| --- | --- | --- |"
        yield "\n".join(_render_row(spec, types[spec.name]) for spec in plain) + "\n"
    for spec in fields(kind):
        nested = _nested(types[spec.name])
        if nested is not None:
            is_named = nested is not types[spec.name]
            if is_named:
                yield f"`[{name}.{spec.name}.NAME]`: {spec.metadata['doc']}\n"
            yield from _render_section(f"{name}.{spec.name}{'.NAME' if is_named else ''}", nested)


def _nested(hint: Any) -> Any:
    """The kind of section that a field holds, by itself or by name."""
    return hint if is_dataclass(hint) else section_of_mapping(hint)


def _render_row(spec: "Field[Any]", hint: Any) -> str:
    key = key_of(spec)
    meaning = spec.metadata["doc"]
    if get_origin(hint) is Literal:
        meaning += f" One of {', '.join(f'`{option!r}`' for option in get_args(hint))}."
    low, high = spec.metadata["low"], spec.metadata["high"]
    if low is not None and high is not None:
        meaning += f" From {low} to {high}."
    elif low is not None and low > 0:
        meaning += f" At least {low}."
    return f"| `{key}` | {_render_default(spec)} | {meaning} |"


def _render_variables() -> Iterator[str]:
    for variable, (path, _) in sorted(PARSERS.items()):
        alias = f"`{ALIASES[variable]}`" if variable in ALIASES else ""
        name = path.rpartition(".")[2]
        in_database = f"`pgrst.{name}`" if name in DATABASE_SETTINGS else ""
        yield f"| `{variable}` | `{path}` | {alias} | {in_database} |"


def _render_idle() -> str:
    return IDLE.format(names=", ".join(f"`{name}`" for name in IDLE_VARIABLES))


def _render_default(spec: "Field[Any]") -> str:
    default = spec.default
    if default is MISSING or default is None:
        return "–"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return "`[" + ", ".join(f'"{item}"' for item in default) + "]`"
    if is_duration(spec.name) and isinstance(default, float):
        return f"`{default:g}` s"
    return f'`"{default}"`' if isinstance(default, str) else f"`{default}`"


if __name__ == "__main__":
    print(render_reference(), end="")
