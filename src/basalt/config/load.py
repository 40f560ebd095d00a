"""From files and environment to `Settings`, with every bad value named by file, key and reason.

Precedence, lowest first: defaults, `supabase/config.toml`, PostgREST's `PGRST_…`, then `SUPABASE_SECTION_KEY` /
`BASALT_KEY` / `DATABASE_URL`; variables of the environment come before those of `.env`. `env(NAME)` values are looked
up in environment and `.env`, as the Supabase CLI does.
"""

import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from basalt.config.auth_settings import AuthSettings
from basalt.config.backup_settings import find_backup_problems
from basalt.config.config_error import ConfigError, Problem
from basalt.config.dotenv import read_dotenv
from basalt.config.function_checks import find_function_problems
from basalt.config.hooks import find_hook_problems
from basalt.config.idle_keys import is_idle_key
from basalt.config.limit_settings import find_limit_problems, find_proxy_problems
from basalt.config.notify_checks import find_notify_problems, idle_sections
from basalt.config.notify_files import read_key_files
from basalt.config.notify_settings import NotifySettings
from basalt.config.operation_checks import find_operation_problems
from basalt.config.postgrest import (
    Variables,
    complete_rest_settings,
    find_problems,
    read_secret_file,
    read_variables,
)
from basalt.config.realtime_settings import RealtimeServiceSettings
from basalt.config.saml import find_saml_problems
from basalt.config.setting import check_bounds, is_duration, key_of, section_of_mapping
from basalt.config.settings import (
    ApiSettings,
    BasaltSettings,
    DbSettings,
    EdgeRuntimeSettings,
    FunctionSettings,
    Settings,
    StudioSettings,
)
from basalt.config.storage_checks import find_storage_problems
from basalt.config.storage_settings import StorageServiceSettings
from basalt.config.telemetry_settings import find_telemetry_problems
from basalt.config.units import parse_duration_s, parse_size_bytes

STANDALONE_PORT = 3000  # PostgREST's
ENV_REFERENCE = re.compile(r"env\(([A-Za-z_][A-Za-z0-9_]*)\)")
SECTIONS: Mapping[str, type] = {
    "api": ApiSettings,
    "db": DbSettings,
    "studio": StudioSettings,
    "auth": AuthSettings,
    "realtime": RealtimeServiceSettings,
    "storage": StorageServiceSettings,
    "edge_runtime": EdgeRuntimeSettings,
    "notify": NotifySettings,
    "basalt": BasaltSettings,
}


def load_settings(project_dir: Path, environ: Mapping[str, str]) -> Settings:
    """The settings of the project in `project_dir`. Raises ConfigError with all problems at once."""
    project_dir = project_dir.resolve()
    path = project_dir / "supabase" / "config.toml"
    reader = _Reader(path, {**_read_dotenv_files(project_dir), **environ})
    tree = reader.read_file()
    reader.idle = idle_sections(reader.find_text("notify.environment", tree) or NotifySettings.environment)
    sections = {name: reader.build(kind, tree.pop(name, {}), name) for name, kind in SECTIONS.items()}
    functions = reader.build_named(FunctionSettings, tree.pop("functions", {}), "functions")
    project_id = reader.value(str, tree.pop("project_id", project_dir.name), "project_id")
    state_dir = reader.environ.get("BASALT_STATE_DIR")
    reader.leftovers(tree, "")
    for key, reason in find_saml_problems(sections["auth"].saml):
        reader.fail(f"auth.saml.{key}", reason)
    for key, reason in find_storage_problems(sections["basalt"].storage):
        reader.fail(f"basalt.storage.{key}", reason)
    for key, reason in find_notify_problems(sections["notify"], sections["auth"].email.smtp):
        reader.fail(f"notify.{key}", reason)
    sections["notify"] = read_key_files(
        sections["notify"], path.parent, lambda key, reason: reader.fail(f"notify.{key}", reason)
    )
    own = sections["basalt"]
    for key, reason in find_operation_problems(own.alerts, own.privacy, own.retention):
        reader.fail(f"basalt.{key}", reason)
    for key, reason in find_telemetry_problems(sections["basalt"].telemetry):
        reader.fail(f"basalt.telemetry.{key}", reason)
    basalt = sections["basalt"]
    for key, reason in find_limit_problems(basalt.rate_limit, other_url=basalt.cache.url):
        reader.fail(f"basalt.rate_limit.{key}", reason)
    for key, reason in find_proxy_problems(basalt.client_address_header, basalt.trusted_proxies):
        reader.fail(f"basalt.{key}", reason)
    for key, reason in find_backup_problems(sections["basalt"].backup):
        reader.fail(f"basalt.backup.{key}", reason)
    for key, reason in find_function_problems(functions):
        reader.fail(f"functions.{key}", reason)
    sections["basalt"] = reader.complete(sections["basalt"], sections["api"])
    reader.check_auth(sections["auth"])
    if reader.problems:
        raise ConfigError(reader.problems)
    return Settings(
        project_dir=project_dir,
        state_dir=Path(state_dir).resolve() if state_dir else project_dir / ".basalt",
        project_id=project_id,
        functions=functions,
        unknown_keys=(*(key for key in reader.unread if not is_idle_key(key)), *reader.variables.unknown),
        idle_keys=(*(key for key in reader.unread if is_idle_key(key)), *reader.variables.idle),
        **sections,
    )


def load_standalone_settings(environ: Mapping[str, str]) -> Settings:
    """The settings of a REST server without a project, by `PGRST_…` variables with PostgREST's defaults; `BASALT_…`
    set the rest. Raises ConfigError."""
    reader = _Reader(Path("environment"), environ)
    given = reader.variables.values
    table = {"rest": {"db_anon_role": ""}, "rate_limit": {"enabled": False}}
    api = ApiSettings(
        host=given.get("api.host", ApiSettings().host),
        port=given.get("api.port", STANDALONE_PORT),
        schemas=("public",),
        extra_search_path=("public",),
        max_rows=None,
    )
    basalt = reader.complete(reader.build(BasaltSettings, table, "basalt"), api)
    if reader.problems:
        raise ConfigError(reader.problems)
    return Settings(
        project_dir=Path.cwd(),
        state_dir=Path.cwd(),
        project_id="rest",
        api=api,
        db=DbSettings(url=given.get("db.url", "postgresql://")),
        studio=StudioSettings(enabled=False),
        auth=AuthSettings(enabled=False),
        realtime=RealtimeServiceSettings(enabled=False),
        storage=StorageServiceSettings(enabled=False),
        edge_runtime=EdgeRuntimeSettings(enabled=False),
        notify=NotifySettings(),
        functions={},
        basalt=basalt,
        unknown_keys=reader.variables.unknown,
        idle_keys=reader.variables.idle,
    )


def _read_dotenv_files(project_dir: Path) -> dict[str, str]:
    values: dict[str, str] = {}
    for folder in (project_dir, project_dir / "supabase"):
        for name in (".env", ".env.local"):
            if (folder / name).is_file():
                values.update(read_dotenv(folder / name))
    return values


class _Reader:
    """One pass over one file, collecting problems instead of stopping at the first."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self.path = path
        self.environ = environ
        self.variables: Variables = read_variables(environ)
        self.problems: list[Problem] = list(self.variables.problems)
        self.unread: list[str] = []
        self.idle: tuple[str, ...] = ()

    def read_file(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as exc:
            raise ConfigError([Problem(str(self.path), "", str(exc))]) from exc

    def find_text(self, path: str, tree: Mapping[str, Any]) -> str | None:
        """A text that decides how the rest is read; None where there is none, or another kind of value."""
        value: Any = tree
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        given = self._from_environment(path)
        if given is None and isinstance(value, str):
            reference = ENV_REFERENCE.fullmatch(value)
            given = self.environ.get(reference[1]) if reference else value
        return given

    def build(self, kind: type, table: Any, prefix: str) -> Any:
        """A dataclass of settings from its TOML table and the environment."""
        if not isinstance(table, dict):
            self.fail(prefix, f"expected a table, found {_describe(table)}")
            table = {}
        types = get_type_hints(kind)
        values: dict[str, Any] = {}
        rest = dict(table)
        # Then nobody needs the variables that it names.
        is_off = rest.get("enabled") is False or f"{prefix}.".startswith(self.idle)
        for spec in fields(kind):
            hint = types[spec.name]
            key = key_of(spec)
            path = f"{prefix}.{key}"
            if is_dataclass(hint):
                values[spec.name] = self.build(hint, rest.pop(key, {}), path)  # type: ignore[arg-type]
                continue
            named = section_of_mapping(hint)
            if named is not None:
                values[spec.name] = self.build_named(named, rest.pop(key, {}), path)
                continue
            raw = self._from_environment(path)
            in_file = rest.pop(key, MISSING)
            if raw is None and path in self.variables.values:
                values[spec.name] = self.variables.values[path]
                continue
            raw = in_file if raw is None else raw
            if raw is MISSING or (is_off and self._refers_to_nothing(raw)):
                continue
            before = len(self.problems)
            value = self.value(hint, raw, path, unit=spec.name, is_secret=spec.metadata["is_secret"])
            try:
                check_bounds(value, spec.metadata)
            except ValueError as exc:
                self.fail(path, str(exc))
            if len(self.problems) == before:
                values[spec.name] = value
        self.leftovers(rest, prefix)
        return kind(**values)

    def build_named(self, kind: type, table: Any, prefix: str) -> dict[str, Any]:
        """Sections of one kind by their names, such as `functions.NAME`."""
        if not isinstance(table, dict):
            self.fail(prefix, f"expected a table, found {_describe(table)}")
            return {}
        return {name: self.build(kind, value, f"{prefix}.{name}") for name, value in table.items()}

    def complete(self, basalt: BasaltSettings, api: ApiSettings) -> BasaltSettings:
        """`[basalt.rest]` with what it takes from `[api]` and from a file that holds the secret, checked."""
        by_variable = "basalt.rest.jwt_secret" in self.variables.values
        rest = basalt.rest
        try:
            rest = read_secret_file(rest, Path() if by_variable else self.path.parent)
        except ValueError as exc:
            self._fail_rest("jwt_secret", str(exc))
            rest = replace(rest, jwt_secret=None)
        rest = complete_rest_settings(rest, api)
        for name, reason in find_problems(rest):
            self._fail_rest(
                "api.schemas" if name == "db_schemas" and not basalt.rest.db_schemas else name, reason
            )
        return replace(basalt, rest=rest)

    def check_auth(self, auth: AuthSettings) -> None:
        """What a single value cannot tell: hooks that lead nowhere, a captcha without its secret."""
        if not auth.enabled:
            return
        for name, reason in find_hook_problems(auth.hook):
            self.fail(f"auth.hook.{name}", reason)
        if auth.captcha.enabled and not auth.captcha.secret:
            self.fail("auth.captcha.secret", "a captcha that is enabled needs its secret")

    def value(self, hint: Any, raw: Any, path: str, *, unit: str = "", is_secret: bool = False) -> Any:
        """`raw` as the type `hint`; strings from the environment are read as TOML would write them. In a table of
        strings what refers to a variable that is not set is left out, as the Supabase CLI does."""
        if isinstance(raw, str) and (reference := ENV_REFERENCE.fullmatch(raw)):
            if reference[1] not in self.environ:
                if NoneType in get_args(hint):
                    return None
                self.fail(path, f"the environment variable {reference[1]} is not set")
                return None
            raw = self.environ[reference[1]]
        if get_origin(hint) is Mapping and isinstance(raw, dict):
            raw = {
                name: self._resolve(item) for name, item in raw.items() if not self._refers_to_nothing(item)
            }
        try:
            return _convert(hint, raw, unit)
        except (TypeError, ValueError) as exc:
            self.fail(
                path, f"expected another kind of value than {type(raw).__name__}" if is_secret else str(exc)
            )
            return None

    def _resolve(self, item: Any) -> Any:
        reference = ENV_REFERENCE.fullmatch(item) if isinstance(item, str) else None
        return self.environ[reference[1]] if reference is not None else item

    def leftovers(self, table: Mapping[str, Any], prefix: str) -> None:
        for key, value in table.items():
            path = f"{prefix}.{key}" if prefix else key
            if isinstance(value, dict) and not is_idle_key(path):
                self.leftovers(value, path)
            else:
                self.unread.append(path)

    def fail(self, key: str, reason: str) -> None:
        self.problems.append(Problem(str(self.path), key, reason))

    def _fail_rest(self, name: str, reason: str) -> None:
        if f"basalt.rest.{name}" in self.variables.values:
            self.problems.append(Problem("environment", f"PGRST_{name.upper()}", reason))
        else:
            self.fail(name if "." in name else f"basalt.rest.{name}", reason)

    def _refers_to_nothing(self, raw: object) -> bool:
        reference = ENV_REFERENCE.fullmatch(raw) if isinstance(raw, str) else None
        return reference is not None and reference[1] not in self.environ

    def _from_environment(self, path: str) -> str | None:
        if path == "db.url" and "DATABASE_URL" in self.environ:
            return self.environ["DATABASE_URL"]
        name = path.upper().replace(".", "_").replace("-", "_")
        return self.environ.get(name if name.startswith("BASALT_") else f"SUPABASE_{name}")


def _convert(hint: Any, raw: Any, unit: str) -> Any:
    if get_origin(hint) in (Union, UnionType):
        inner = [option for option in get_args(hint) if option is not NoneType]
        return None if raw == "" else _convert(inner[0], raw, unit)
    if get_origin(hint) is Literal:
        if raw not in get_args(hint):
            options = ", ".join(map(repr, get_args(hint)))
            raise ValueError(f"{raw!r} is not one of {options}")
        return raw
    if get_origin(hint) is tuple:
        items = [item.strip() for item in raw.split(",") if raw] if isinstance(raw, str) else raw
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise ValueError(f"expected a list of strings, found {_describe(raw)}")
        return tuple(items)
    if get_origin(hint) is Mapping:
        if not isinstance(raw, dict) or not all(isinstance(item, str) for item in raw.values()):
            raise ValueError(f"expected a table of strings, found {_describe(raw)}")
        return raw
    if is_duration(unit):
        return hint(parse_duration_s(raw))
    if unit.endswith("_bytes"):
        return parse_size_bytes(raw)
    return _convert_scalar(hint, raw)


def _convert_scalar(hint: Any, raw: Any) -> Any:
    if hint is bool and isinstance(raw, str) and raw.lower() in ("true", "false", "1", "0"):
        return raw.lower() in ("true", "1")
    if hint is int and isinstance(raw, str) and re.fullmatch(r"[+-]?\d+", raw):
        return int(raw)
    if hint is float and isinstance(raw, (int, float, str)) and not isinstance(raw, bool):
        with suppress(ValueError):
            return float(raw)
    if type(raw) is not hint:
        names = {bool: "true or false", int: "a whole number", str: "a string", float: "a number"}
        raise ValueError(f"expected {names[hint]}, found {_describe(raw)}")
    return raw


def _describe(raw: Any) -> str:
    names = {
        dict: "a table",
        list: "a list",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
    }
    return (
        f"{names.get(type(raw), type(raw).__name__)} ({raw!r})"
        if not isinstance(raw, (dict, list))
        else names[type(raw)]
    )
