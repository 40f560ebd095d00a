"""PostgREST's own ways to be configured: `PGRST_…` variables of the environment and `pgrst.…` settings of the database.

Both are texts, and both are read as PostgREST reads them (`Config.hs`): lists by commas, booleans from `TRUE`, `1` or
`"true"`, an empty text as if nothing were set. A value that PostgREST would silently pass over is named as a mistake.
What every setting means stands at `RestSettings`.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import orjson

from basalt.config.config_error import ConfigError, Problem
from basalt.config.role_path import parse_role_path
from basalt.config.server_address import parse_proxy_uri
from basalt.config.setting import check_bounds
from basalt.config.settings import ApiSettings, BasaltSettings, RestSettings

PREFIX = "PGRST_"
APP_SETTINGS_PREFIX = "PGRST_APP_SETTINGS_"
ALIASES: Mapping[str, str] = {
    "PGRST_DB_MAX_ROWS": "PGRST_MAX_ROWS",
    "PGRST_DB_PRE_REQUEST": "PGRST_PRE_REQUEST",
    "PGRST_DB_ROOT_SPEC": "PGRST_ROOT_SPEC",
    "PGRST_DB_SCHEMAS": "PGRST_DB_SCHEMA",
    "PGRST_JWT_ROLE_CLAIM_KEY": "PGRST_ROLE_CLAIM_KEY",
    "PGRST_JWT_SECRET_IS_BASE64": "PGRST_SECRET_IS_BASE64",
}
IDLE_VARIABLES = (
    "PGRST_ADMIN_SERVER_HOST",
    "PGRST_ADMIN_SERVER_PORT",
    "PGRST_ADMIN_SERVER_UNIX_SOCKET",
    "PGRST_ADMIN_SERVER_UNIX_SOCKET_MODE",
    "PGRST_DB_POOL_AUTOMATIC_RECOVERY",
    "PGRST_DB_POOL_MAX_IDLETIME",
    "PGRST_DB_POOL_MAX_LIFETIME",
    "PGRST_DB_POOL_TIMEOUT",
    "PGRST_DB_USE_LEGACY_GUCS",
    "PGRST_INTERNAL_SCHEMA_CACHE_QUERY_SLEEP",
    "PGRST_INTERNAL_SCHEMA_CACHE_QUERY_SLEEP_BEFORE_QUERIES",
    "PGRST_JWT_CACHE_MAX_LIFETIME",
    "PGRST_LOG_QUERY",
    "PGRST_SERVER_REUSEPORT",
    "PGRST_SERVER_UNIX_SOCKET",
    "PGRST_SERVER_UNIX_SOCKET_MODE",
)
# What `alter role … set pgrst.NAME` may set (`Config/Database.hs`; the size of the cache only in the documentation).
DATABASE_SETTINGS = (
    "client_error_verbosity",
    "db_aggregates_enabled",
    "db_anon_role",
    "db_extra_search_path",
    "db_hoisted_tx_settings",
    "db_max_rows",
    "db_plan_enabled",
    "db_pre_config",
    "db_pre_request",
    "db_prepared_statements",
    "db_root_spec",
    "db_schemas",
    "db_tx_end",
    "jwt_aud",
    "jwt_cache_max_entries",
    "jwt_role_claim_key",
    "jwt_secret",
    "jwt_secret_is_base64",
    "openapi_mode",
    "openapi_security_active",
    "openapi_server_proxy_uri",
    "server_cors_allowed_origins",
    "server_timing_enabled",
    "server_trace_header",
    "url_use_legacy_target_names",
)
LOG_LEVELS: Mapping[str, str] = {
    "crit": "error",
    "error": "error",
    "warn": "warning",
    "info": "info",
    "debug": "debug",
}
HOSTS: Mapping[str, str] = {"*": "0.0.0.0", "*4": "0.0.0.0", "!4": "0.0.0.0", "*6": "::", "!6": "::"}  # noqa: S104
CLOSED_SCHEMAS = frozenset({"pg_catalog", "information_schema"})
LEAST_SECRET_BYTES = 32  # RFC 7518 §3.2: a key for HS256 is not shorter than the hash

URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
PARAMETER_NAME = re.compile(r"[a-z_][a-z0-9_$]*(?:\.[a-z_][a-z0-9_$]*)*")

Parse = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Variables:
    """What the environment says in PostgREST's words. `values` are by the path of their setting
    (`basalt.rest.db_schemas`, `api.port`) and ready for use; `idle` and `unknown` are names of variables."""

    values: Mapping[str, Any]
    problems: tuple[Problem, ...] = ()
    idle: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def read_variables(environ: Mapping[str, str]) -> Variables:
    """Every `PGRST_…` variable of `environ`.

    >>> read_variables({"PGRST_DB_SCHEMAS": "api, more", "PGRST_SERVER_PORT": "80"}).values
    {'api.port': 80, 'basalt.rest.db_schemas': ('api', 'more')}
    >>> [str(problem) for problem in read_variables({"PGRST_DB_MAX_ROWS": "many"}).problems]
    ["environment: PGRST_DB_MAX_ROWS: 'many' is not a whole number"]
    """
    given = {name: text for name, text in environ.items() if name.startswith(PREFIX)}
    app_settings = {
        name.removeprefix(APP_SETTINGS_PREFIX).lower(): given.pop(name)
        for name in sorted(given)
        if name.startswith(APP_SETTINGS_PREFIX)
    }
    idle = tuple(name for name in IDLE_VARIABLES if given.pop(name, None) is not None)
    values: dict[str, Any] = {}
    problems = []
    for name, (path, parse) in PARSERS.items():
        sent = [(each, given.pop(each)) for each in (name, ALIASES.get(name, "")) if each in given]
        if not sent:
            continue
        used, text = next(((each, text) for each, text in sent if text), sent[0])
        if not text and name not in REST_VARIABLES:
            continue
        try:
            values[path] = parse(text)
        except (ValueError, OSError) as exc:
            problems.append(Problem("environment", used, str(exc)))
    if app_settings:
        values["basalt.rest.app_settings"] = app_settings
    return Variables(values, tuple(problems), idle, tuple(sorted(given)))


def override_rest_settings(current: RestSettings, pairs: Mapping[str, str]) -> RestSettings:
    """`current` with what the database says instead: `pairs` are names without `pgrst.` and texts. Names that the
    database may not set are passed over. Raises ConfigError with every bad value.

    `current` are the settings without any of the database's, or a `reset` there would have no effect.

    >>> override_rest_settings(RestSettings(), {"db_max_rows": "5", "db_channel": "ignored"}).db_max_rows
    5
    """
    values: dict[str, Any] = {}
    problems = []
    for name in DATABASE_SETTINGS:
        if name not in pairs or (name == "db_schemas" and not pairs[name]):
            continue
        try:
            values[name] = _parser_of(REST_FIELDS[name])(pairs[name])
        except (ValueError, OSError) as exc:
            problems.append(Problem("database", f"pgrst.{name}", str(exc)))
    changed = replace(current, **values)
    if {"jwt_secret", "jwt_secret_is_base64"} & values.keys():
        try:
            if "jwt_secret" in values:
                changed = read_secret_file(changed, Path())
            check_secret(changed)
        except ValueError as exc:
            problems.append(Problem("database", "pgrst.jwt_secret", str(exc)))
    if problems:
        raise ConfigError(problems)
    return changed


def complete_rest_settings(settings: RestSettings, api: ApiSettings) -> RestSettings:
    """The schemas, the search path and the most rows, from `[api]` where they are not set for REST alone."""
    path = settings.db_extra_search_path
    return replace(
        settings,
        db_schemas=settings.db_schemas or api.schemas,
        db_extra_search_path=api.extra_search_path if path is None else path,
        db_max_rows=api.max_rows if settings.db_max_rows is None else settings.db_max_rows,
    )


# The secret


def read_secret_file(settings: RestSettings, folder: Path) -> RestSettings:
    """`@file`: the file's content, without one line feed at its end, instead of its name. Bytes that are not UTF-8
    survive as surrogates until `rest_secret`. Raises ValueError."""
    secret = settings.jwt_secret
    if secret is None or not secret.startswith("@"):
        return settings
    content = _read_file(folder / secret[1:]).removesuffix(b"\n")
    return replace(settings, jwt_secret=content.decode("utf-8", "surrogateescape") or None)


def rest_secret(settings: RestSettings) -> bytes | None:
    """The JWT secret: a text of at least 32 bytes, a JWK or a JWK set; decoded where it is in Base64. Raises
    ValueError."""
    if settings.jwt_secret is None:
        return None
    secret = settings.jwt_secret.encode("utf-8", "surrogateescape")
    if not settings.jwt_secret_is_base64:
        return secret
    # PostgREST takes the alphabet for URLs, too, and dots for the padding.
    plain = secret.strip().translate(bytes.maketrans(b"_-.", b"/+=")).rstrip(b"=")
    try:
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except ValueError as exc:
        raise ValueError("the secret is not Base64") from exc


def check_secret(settings: RestSettings) -> None:
    """Raises ValueError when the secret is too short, or a key that is no secret."""
    secret = rest_secret(settings)
    if secret is None or parse_key_set(secret) is not None:
        return
    if secret.lstrip().startswith((b"-----BEGIN", b"ssh-", b"ecdsa-sha2-")):
        raise ValueError("a public key is no secret; give it as a JWK")
    if len(secret) < LEAST_SECRET_BYTES:
        raise ValueError(f"the secret must be at least {LEAST_SECRET_BYTES} characters long")


def parse_key_set(secret: bytes) -> list[Any] | None:
    """The keys of a JWK set or of one JWK; None when the secret is a text.

    >>> parse_key_set(b'{"keys": [{"kty": "oct"}]}')
    [{'kty': 'oct'}]
    """
    try:
        value = orjson.loads(secret)
    except orjson.JSONDecodeError:
        return None
    if isinstance(value, dict) and isinstance(value.get("keys"), list):
        keys: list[Any] = value["keys"]
        return keys
    return [value] if isinstance(value, dict) and "kty" in value else None


# Checks of single values, from whichever source


def find_problems(settings: RestSettings) -> Iterator[tuple[str, str]]:
    """Name and reason of every value that cannot be used."""
    for name, check in CHECKS.items():
        try:
            check(getattr(settings, name))
        except ValueError as exc:
            yield name, str(exc)
    try:
        check_secret(settings)
    except ValueError as exc:
        yield "jwt_secret", str(exc)


def _check_schemas(schemas: tuple[str, ...]) -> None:
    for schema in schemas:
        if schema in CLOSED_SCHEMAS:
            raise ValueError(f"the schema {schema!r} cannot be exposed")


def _check_audience(audience: str | None) -> None:
    """RFC 7519 §2, StringOrURI: with a colon in it, it is a URI."""
    if audience is not None and ":" in audience and not URI.fullmatch(audience):
        raise ValueError(f"{audience!r} holds a colon and is not a URI")


def _check_role_path(path: str) -> None:
    parse_role_path(path)


def _check_proxy_uri(uri: str | None) -> None:
    if uri is not None:
        parse_proxy_uri(uri)


def _check_header_name(name: str | None) -> None:
    if name is not None and not HEADER_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a header")


def _check_app_settings(app_settings: Mapping[str, str]) -> None:
    for name in app_settings:
        if not PARAMETER_NAME.fullmatch(name.lower()):
            raise ValueError(f"app.settings.{name} is not a name that PostgreSQL gives a setting")


CHECKS: Mapping[str, Callable[[Any], None]] = {
    "db_schemas": _check_schemas,
    "jwt_aud": _check_audience,
    "jwt_role_claim_key": _check_role_path,
    "openapi_server_proxy_uri": _check_proxy_uri,
    "server_trace_header": _check_header_name,
    "app_settings": _check_app_settings,
}


# From texts to values


def _parser_of(spec: "Field[Any]") -> Parse:
    """How PostgREST reads the text of one setting. An empty one is as good as none, save for the search path."""
    hint = REST_HINTS[spec.name]
    default = spec.default if spec.default is not MISSING else None
    if type(None) in get_args(hint):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
        default = () if spec.name == "db_extra_search_path" else None
    check = CHECKS.get(spec.name)

    def parse(text: str) -> Any:
        value = default if text == "" else _convert(hint, text)
        check_bounds(value, spec.metadata)
        if check is not None:
            check(value)
        return value

    return parse


def _convert(hint: Any, text: str) -> Any:
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise ValueError(f"{text!r} is not one of {', '.join(map(repr, get_args(hint)))}")
        return text
    if get_origin(hint) is tuple:
        return tuple(item.strip() for item in text.split(","))
    return CONVERTERS[hint](text)


def _parse_bool(text: str) -> bool:
    """`True`, `"true"` and `1` alike; any number above zero is true."""
    word = "".join(filter(str.isalpha, text)).lower()
    if word in ("true", "false"):
        return word == "true"
    try:
        return int(text) > 0
    except ValueError:
        raise ValueError(f"{text!r} is not true or false") from None


def _parse_int(text: str) -> int:
    if not re.fullmatch(r"\s*-?\d+\s*", text, re.ASCII):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _parse_uri(text: str) -> str:
    return _read_file(Path(text[1:])).decode("utf-8", "replace").strip() if text.startswith("@") else text


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ValueError(f"the file {path} cannot be read: {exc.strerror}") from exc


def _parse_host(text: str) -> str:
    return HOSTS.get(text, text)


def _parse_log_level(text: str) -> str:
    if text not in LOG_LEVELS:
        raise ValueError(f"{text!r} is not one of {', '.join(map(repr, LOG_LEVELS))}")
    return LOG_LEVELS[text]


def _number_parser(kind: type, name: str) -> Parse:
    """A number for a setting outside of `[basalt.rest]`, within its bounds."""
    spec = next(each for each in fields(kind) if each.name == name)

    def parse(text: str) -> int:
        value = _parse_int(text)
        check_bounds(value, spec.metadata)
        return value

    return parse


CONVERTERS: Mapping[Any, Parse] = {bool: _parse_bool, int: _parse_int, str: str}
REST_HINTS = get_type_hints(RestSettings)
REST_FIELDS: Mapping[str, "Field[Any]"] = {spec.name: spec for spec in fields(RestSettings)}
REST_VARIABLES: Mapping[str, tuple[str, Parse]] = {
    f"{PREFIX}{name.upper()}": (f"basalt.rest.{name}", _parser_of(spec))
    for name, spec in REST_FIELDS.items()
    if name != "app_settings"
}
# Variable → path of its setting, and how its text is read.
PARSERS: Mapping[str, tuple[str, Parse]] = {
    "PGRST_DB_URI": ("db.url", _parse_uri),
    "PGRST_DB_POOL": ("basalt.lanes", _number_parser(BasaltSettings, "lanes")),
    "PGRST_DB_POOL_ACQUISITION_TIMEOUT": (
        "basalt.queue_timeout",
        _number_parser(BasaltSettings, "queue_timeout_s"),
    ),
    "PGRST_LOG_LEVEL": ("basalt.log_level", _parse_log_level),
    "PGRST_SERVER_HOST": ("api.host", _parse_host),
    "PGRST_SERVER_PORT": ("api.port", _number_parser(ApiSettings, "port")),
    **REST_VARIABLES,
}
