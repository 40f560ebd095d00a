"""PostgREST's variables and in-database settings: the texts, what becomes of them, and whose word counts."""

import base64
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from basalt.config import (
    DATABASE_SETTINGS,
    ConfigError,
    RestSettings,
    load_settings,
    load_standalone_settings,
    override_rest_settings,
    rest_secret,
)
from basalt.config.postgrest import IDLE_VARIABLES, PARSERS

pytestmark = pytest.mark.req("P5")

SECRET = "a secret of more than 32 characters"


def project(folder: Path, toml: str = "", **environ: str) -> RestSettings:
    (folder / "supabase").mkdir(exist_ok=True)
    (folder / "supabase" / "config.toml").write_text(toml)
    return load_settings(folder, environ).basalt.rest


def standalone(**environ: str) -> RestSettings:
    return load_standalone_settings(environ).basalt.rest


def problems(**environ: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load_standalone_settings(environ)
    assert {problem.file for problem in caught.value.problems} == {"environment"}
    return {problem.key: problem.reason for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("PGRST_DB_SCHEMAS", "api,  more ,other", "db_schemas", ("api", "more", "other")),
        ("PGRST_DB_SCHEMA", "api", "db_schemas", ("api",)),
        ("PGRST_DB_EXTRA_SEARCH_PATH", "public, test", "db_extra_search_path", ("public", "test")),
        ("PGRST_DB_EXTRA_SEARCH_PATH", "", "db_extra_search_path", ()),
        ("PGRST_DB_HOISTED_TX_SETTINGS", "work_mem", "db_hoisted_tx_settings", ("work_mem",)),
        ("PGRST_DB_MAX_ROWS", "1000", "db_max_rows", 1000),
        ("PGRST_DB_MAX_ROWS", "", "db_max_rows", None),
        ("PGRST_MAX_ROWS", " 7 ", "db_max_rows", 7),
        ("PGRST_DB_ANON_ROLE", "web_anon", "db_anon_role", "web_anon"),
        ("PGRST_DB_ANON_ROLE", "", "db_anon_role", None),
        ("PGRST_PRE_REQUEST", "api.check", "db_pre_request", "api.check"),
        ("PGRST_ROOT_SPEC", "root", "db_root_spec", "root"),
        ("PGRST_DB_CHANNEL", "", "db_channel", "pgrst"),
        ("PGRST_DB_CHANNEL_ENABLED", "0", "db_channel_enabled", False),
        ("PGRST_DB_CHANNEL_ENABLED", "FALSE", "db_channel_enabled", False),
        ("PGRST_DB_PLAN_ENABLED", '"true"', "db_plan_enabled", True),
        ("PGRST_DB_PLAN_ENABLED", "True", "db_plan_enabled", True),
        ("PGRST_DB_PLAN_ENABLED", "2", "db_plan_enabled", True),
        ("PGRST_DB_PLAN_ENABLED", "-1", "db_plan_enabled", False),
        ("PGRST_DB_PLAN_ENABLED", "", "db_plan_enabled", False),
        ("PGRST_DB_TX_END", "rollback-allow-override", "db_tx_end", "rollback-allow-override"),
        ("PGRST_DB_TX_END", "", "db_tx_end", "commit"),
        ("PGRST_JWT_AUD", "https://api.test", "jwt_aud", "https://api.test"),
        ("PGRST_JWT_AUD", "plain audience", "jwt_aud", "plain audience"),
        ("PGRST_JWT_ROLE_CLAIM_KEY", ".realm.role", "jwt_role_claim_key", ".realm.role"),
        ("PGRST_ROLE_CLAIM_KEY", "$.a", "jwt_role_claim_key", "$.a"),
        ("PGRST_JWT_ROLE_CLAIM_KEY", "", "jwt_role_claim_key", "$.role"),
        ("PGRST_JWT_SECRET", SECRET, "jwt_secret", SECRET),
        ("PGRST_SECRET_IS_BASE64", "1", "jwt_secret_is_base64", True),
        ("PGRST_OPENAPI_SERVER_PROXY_URI", "https://a.test:8443/b", "openapi_server_proxy_uri", "https://a.test:8443/b"),
        ("PGRST_SERVER_CORS_ALLOWED_ORIGINS", "http://a, http://b", "server_cors_allowed_origins", ("http://a", "http://b")),
        ("PGRST_SERVER_TRACE_HEADER", "X-Request-Id", "server_trace_header", "X-Request-Id"),
        ("PGRST_CLIENT_ERROR_VERBOSITY", "minimal", "client_error_verbosity", "minimal"),
        ("PGRST_APP_SETTINGS_HOST", "a.test", "app_settings", {"host": "a.test"}),
        ("PGRST_APP_SETTINGS_my_key", "", "app_settings", {"my_key": ""}),
    ],
)  # fmt: skip
def test_a_variable_is_read_as_postgrest_reads_it(variable: str, text: str, name: str, value: Any) -> None:
    assert getattr(standalone(**{variable: text}), name) == value


def test_an_alias_counts_only_without_its_proper_name() -> None:
    assert standalone(PGRST_DB_SCHEMAS="a", PGRST_DB_SCHEMA="b").db_schemas == ("a",)
    assert standalone(PGRST_DB_SCHEMAS="", PGRST_DB_SCHEMA="b").db_schemas == ("b",)


def test_every_setting_of_rest_has_its_variable() -> None:
    by_variable = {path.removeprefix("basalt.rest.") for path, _ in PARSERS.values() if "rest." in path}
    assert by_variable == {spec.name for spec in fields(RestSettings)} - {"app_settings"}
    assert set(DATABASE_SETTINGS) <= by_variable


@pytest.mark.parametrize(
    ("variable", "text", "reason"),
    [
        ("PGRST_DB_MAX_ROWS", "many", "whole number"),
        ("PGRST_MAX_ROWS", "1e3", "whole number"),
        ("PGRST_DB_MAX_ROWS", "-1", "below"),
        ("PGRST_DB_POOL", "0", "below"),
        ("PGRST_DB_PLAN_ENABLED", "yes", "not true or false"),
        ("PGRST_DB_TX_END", "random", "'commit-allow-override'"),
        ("PGRST_DB_SCHEMAS", "public, pg_catalog", "'pg_catalog' cannot be exposed"),
        ("PGRST_DB_SCHEMA", "information_schema", "'information_schema' cannot be exposed"),
        ("PGRST_JWT_AUD", "http://%%localhorst.invalid", "not a URI"),
        ("PGRST_JWT_ROLE_CLAIM_KEY", "$.my_role;;domain", "found ';', line 1, column 9"),
        ("PGRST_JWT_SECRET", "short", "at least 32 characters"),
        ("PGRST_JWT_SECRET", "-----BEGIN PUBLIC KEY-----\n" + "A" * 99, "a public key is no secret"),
        ("PGRST_JWT_SECRET", "@/nowhere/secret", "/nowhere/secret cannot be read: No such file"),
        ("PGRST_DB_URI", "@/nowhere/uri", "/nowhere/uri cannot be read: No such file"),
        ("PGRST_LOG_LEVEL", "never", "'crit'"),
        ("PGRST_OPENAPI_MODE", "follow-", "'ignore-privileges'"),
        ("PGRST_OPENAPI_SERVER_PROXY_URI", "htp:/@@localhorst.invalid", "not an address"),
        ("PGRST_OPENAPI_SERVER_PROXY_URI", "https://a.test:0", "not an address"),
        ("PGRST_OPENAPI_SERVER_PROXY_URI", "https://a.test:99999", "not an address"),
        ("PGRST_OPENAPI_SERVER_PROXY_URI", "https://me@a.test/", "not an address"),
        ("PGRST_OPENAPI_SERVER_PROXY_URI", "https://a.test/?b", "not an address"),
        ("PGRST_CLIENT_ERROR_VERBOSITY", "loud", "'minimal'"),
        ("PGRST_SERVER_PORT", "99999", "above"),
        ("PGRST_SERVER_TRACE_HEADER", "X Trace", "not the name of a header"),
    ],
)
def test_a_bad_value_is_named_by_its_variable(variable: str, text: str, reason: str) -> None:
    assert reason in problems(**{variable: text})[variable]


def test_a_name_that_no_setting_of_postgresql_can_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"app\.settings\.a-b is not a name"):
        standalone(**{"PGRST_APP_SETTINGS_a-b": "1"})


def test_all_bad_values_are_told_at_once() -> None:
    named = problems(PGRST_DB_MAX_ROWS="x", PGRST_JWT_SECRET="x", PGRST_DB_TX_END="x")
    assert set(named) == {"PGRST_DB_MAX_ROWS", "PGRST_JWT_SECRET", "PGRST_DB_TX_END"}


def test_variables_without_effect_are_told_apart_from_unknown_ones() -> None:
    settings = load_standalone_settings({**dict.fromkeys(IDLE_VARIABLES, "1"), "PGRST_DB_SHCEMAS": "a"})
    assert settings.idle_keys == IDLE_VARIABLES
    assert settings.unknown_keys == ("PGRST_DB_SHCEMAS",)


def test_a_server_alone_has_postgrests_defaults(tmp_path: Path) -> None:
    settings = load_standalone_settings({})
    assert (settings.db.url, settings.api.host, settings.api.port) == ("postgresql://", "127.0.0.1", 3000)
    rest = settings.basalt.rest
    assert (rest.db_schemas, rest.db_extra_search_path, rest.db_max_rows) == (("public",), ("public",), None)
    assert (rest.db_anon_role, rest.jwt_secret, rest.jwt_role_claim_key) == (None, None, "$.role")
    uri = tmp_path / "uri"
    uri.write_text("postgresql://web@db/app\n")
    settings = load_standalone_settings(
        {
            "PGRST_DB_URI": f"@{uri}",
            "PGRST_SERVER_HOST": "!4",
            "PGRST_SERVER_PORT": "80",
            "PGRST_DB_POOL": "3",
            "PGRST_DB_POOL_ACQUISITION_TIMEOUT": "30",
            "PGRST_LOG_LEVEL": "warn",
            "BASALT_LOG_FORMAT": "json",
            "SUPABASE_API_PORT": "1",
        }
    )
    assert (settings.db.url, settings.api.host, settings.api.port) == (
        "postgresql://web@db/app",
        "0.0.0.0",
        80,
    )
    basalt = settings.basalt
    assert (basalt.lanes, basalt.queue_timeout_s, basalt.log_level) == (3, 30, "warning")
    assert basalt.log_format == "json"


@pytest.mark.parametrize(
    ("spelling", "host"),
    [("*", "0.0.0.0"), ("*4", "0.0.0.0"), ("!4", "0.0.0.0"), ("*6", "::"), ("!6", "::"), ("::1", "::1")],
)
def test_postgrests_words_for_hosts_are_addresses(spelling: str, host: str) -> None:
    assert load_standalone_settings({"PGRST_SERVER_HOST": spelling}).api.host == host


# In a project


def test_a_projects_rest_settings_are_filled_from_api(tmp_path: Path) -> None:
    toml = '[api]\nschemas = ["api", "more"]\nextra_search_path = ["extensions"]\nmax_rows = 50\n'
    rest = project(tmp_path, toml)
    assert (rest.db_schemas, rest.db_extra_search_path, rest.db_max_rows) == (
        ("api", "more"),
        ("extensions",),
        50,
    )
    assert rest.db_anon_role == "anon"
    own = (
        '[basalt.rest]\ndb_schemas = ["own"]\ndb_extra_search_path = []\ndb_max_rows = 7\ndb_anon_role = ""\n'
    )
    rest = project(tmp_path, toml + own)
    assert (rest.db_schemas, rest.db_extra_search_path, rest.db_max_rows) == (("own",), (), 7)
    assert rest.db_anon_role is None


def test_variables_count_more_than_the_file_and_less_than_basalts_own(tmp_path: Path) -> None:
    toml = "[api]\nport = 1\n[basalt.rest]\ndb_max_rows = 1\n"
    assert project(tmp_path, toml, PGRST_DB_MAX_ROWS="2").db_max_rows == 2
    assert project(tmp_path, toml, PGRST_DB_MAX_ROWS="2", BASALT_REST_DB_MAX_ROWS="3").db_max_rows == 3
    environ = {"PGRST_SERVER_PORT": "2", "PGRST_DB_URI": "postgresql://web@db"}
    settings = load_settings(tmp_path, environ)
    assert (settings.api.port, settings.db.url) == (2, "postgresql://web@db")
    own = {"SUPABASE_API_PORT": "3", "DATABASE_URL": "postgresql://owner@db"}
    settings = load_settings(tmp_path, environ | own)
    assert (settings.api.port, settings.db.url) == (3, "postgresql://owner@db")
    (tmp_path / ".env").write_text("PGRST_DB_MAX_ROWS=9\n")
    assert load_settings(tmp_path, {}).basalt.rest.db_max_rows == 9


@pytest.mark.parametrize(
    ("toml", "key", "reason"),
    [
        ('[api]\nschemas = ["pg_catalog"]', "api.schemas", "cannot be exposed"),
        ('[basalt.rest]\ndb_schemas = ["pg_catalog"]', "basalt.rest.db_schemas", "cannot be exposed"),
        ('[basalt.rest]\njwt_secret = "short"', "basalt.rest.jwt_secret", "32 characters"),
        ('[basalt.rest]\njwt_secret = "@gone"', "basalt.rest.jwt_secret", "supabase/gone cannot be read"),
        ('[basalt.rest]\njwt_role_claim_key = "role"', "basalt.rest.jwt_role_claim_key", "position 1"),
        ('[basalt.rest]\ndb_tx_end = "never"', "basalt.rest.db_tx_end", "'rollback'"),
        ('[basalt.rest.app_settings]\n"a b" = "1"', "basalt.rest.app_settings", "app.settings.a b"),
    ],
)
def test_a_bad_value_in_the_file_is_named_by_its_key(
    tmp_path: Path, toml: str, key: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        project(tmp_path, toml)
    assert [problem.key for problem in caught.value.problems] == [key]
    assert reason in caught.value.problems[0].reason


# The secret


def test_a_secret_comes_from_a_file_without_its_line_feed(tmp_path: Path) -> None:
    (tmp_path / "supabase").mkdir()
    (tmp_path / "supabase" / "secret").write_bytes(b"\xff\x00" * 20 + b"\n")
    in_file = project(tmp_path, '[basalt.rest]\njwt_secret = "@secret"')
    by_variable = standalone(PGRST_JWT_SECRET=f"@{tmp_path}/supabase/secret")
    assert rest_secret(in_file) == rest_secret(by_variable) == b"\xff\x00" * 20


@pytest.mark.parametrize("padding", ["==", "", ".."])
@pytest.mark.parametrize("alphabet", ["+/", "-_"])
def test_a_secret_in_base64_is_decoded_in_either_alphabet(alphabet: str, padding: str) -> None:
    raw = b"\xff\xfe\xfb" * 11 + b"\0"
    text = base64.b64encode(raw).decode().translate(str.maketrans("+/", alphabet)).rstrip("=")
    given = standalone(PGRST_JWT_SECRET=f" {text}{padding}\n", PGRST_JWT_SECRET_IS_BASE64="true")
    assert rest_secret(given) == raw


def test_what_is_not_base64_is_refused() -> None:
    assert problems(PGRST_JWT_SECRET="no base-64!", PGRST_JWT_SECRET_IS_BASE64="true") == {
        "PGRST_JWT_SECRET": "the secret is not Base64"
    }


# In the database


def test_the_database_overrides_with_the_same_texts() -> None:
    current = RestSettings(db_schemas=("public",), jwt_secret=SECRET, db_max_rows=10, db_anon_role="anon")
    changed = override_rest_settings(
        current,
        {
            "db_schemas": "one, two",
            "db_max_rows": "",
            "db_extra_search_path": "",
            "db_anon_role": "web_anon",
            "db_aggregates_enabled": "TRUE",
            "jwt_secret": "b3RoZXIgc2VjcmV0IG9mIG1vcmUgdGhhbiAzMiBjaGFyYWN0ZXJz",
            "jwt_secret_is_base64": "true",
            "db_uri": "ignored",
            "db_channel": "ignored",
            "log_level": "ignored",
            "not_existing": "ignored",
        },
    )
    assert changed.db_schemas == ("one", "two")
    assert (changed.db_max_rows, changed.db_extra_search_path, changed.db_anon_role) == (None, (), "web_anon")
    assert changed.db_aggregates_enabled is True
    assert rest_secret(changed) == b"other secret of more than 32 characters"
    assert changed.db_channel == "pgrst"
    assert override_rest_settings(current, {}) == current
    assert override_rest_settings(current, {"db_schemas": ""}).db_schemas == ("public",)


def test_bad_values_in_the_database_are_named_all_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        override_rest_settings(
            RestSettings(),
            {"db_max_rows": "x", "db_schemas": "pg_catalog", "jwt_secret": "short", "db_tx_end": "x"},
        )
    assert {(problem.file, problem.key) for problem in caught.value.problems} == {
        ("database", "pgrst.db_max_rows"),
        ("database", "pgrst.db_schemas"),
        ("database", "pgrst.db_tx_end"),
        ("database", "pgrst.jwt_secret"),
    }
