"""Settings from config.toml, .env and the environment."""

from pathlib import Path

import pytest

from basalt.config import ConfigError, Settings, load_settings


def load(tmp_path: Path, toml: str, **environ: str) -> Settings:
    folder = tmp_path / "supabase"
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(toml)
    return load_settings(tmp_path, environ)


@pytest.mark.req("P1")
def test_a_project_without_a_file_has_the_defaults(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, {})
    assert settings.api.port == 54321
    assert settings.db.port == 54322
    assert settings.api.schemas == ("public", "graphql_public")
    assert settings.state_dir == tmp_path / ".basalt"


def test_durations_are_seconds_or_go_strings(tmp_path: Path) -> None:
    settings = load(
        tmp_path, '[auth.email]\nmax_frequency = "1m30s"\notp_expiry = 600\n[auth.sms]\nmax_frequency = "5s"'
    )
    assert settings.auth.email.max_frequency_s == 90
    assert settings.auth.email.otp_expiry_s == 600
    assert settings.auth.sms.max_frequency_s == 5


def test_every_bad_value_is_named_with_file_key_and_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(
            tmp_path, '[api]\nport = 99999\nschemas = "public"\nmax_rows = "many"\n[auth]\nenable_signup = 3'
        )
    reasons = {problem.key: problem.reason for problem in caught.value.problems}
    assert set(reasons) == {"api.port", "api.max_rows", "auth.enable_signup"}
    assert "65535" in reasons["api.port"]
    assert "whole number" in reasons["api.max_rows"]
    assert all(problem.file.endswith("supabase/config.toml") for problem in caught.value.problems)


def test_a_syntax_error_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line 2"):
        load(tmp_path, "[api]\nport = = 1")


def test_a_table_where_a_value_belongs_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="auth: expected a table"):
        load(tmp_path, "auth = 1")


def test_env_references_are_looked_up(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SITE=https://from.dotenv\n")
    toml = '[auth]\nsite_url = "env(SITE)"'
    assert load(tmp_path, toml).auth.site_url == "https://from.dotenv"
    assert load(tmp_path, toml, SITE="https://from.environment").auth.site_url == "https://from.environment"


def test_a_missing_env_reference_is_an_error_where_a_value_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ABSENT is not set"):
        load(tmp_path, '[auth]\nsite_url = "env(ABSENT)"')
    assert load(tmp_path, '[auth]\njwt_secret = "env(ABSENT)"').auth.jwt_secret is None


@pytest.mark.req("P26")
def test_backups_are_not_left_unsealed_for_want_of_a_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"basalt\.backup\.passphrase: .* ABSENT is not set"):
        load(tmp_path, '[basalt.backup]\ntarget = "out"\npassphrase = "env(ABSENT)"')


def test_the_environment_overrides_any_key(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "[api]\nport = 1234",
        SUPABASE_API_PORT="4321",
        SUPABASE_API_SCHEMAS="public, other",
        BASALT_RATE_LIMIT_ENABLED="false",
        DATABASE_URL="postgresql://owner@db/app",
    )
    assert settings.api.port == 4321
    assert settings.api.schemas == ("public", "other")
    assert settings.basalt.rate_limit.enabled is False
    assert settings.db.url == "postgresql://owner@db/app"


def test_unknown_keys_are_told_apart_from_those_without_effect(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "[api]\nprot = 1\n[analytics]\nenabled = true\n[auth.third_party.clerk]\nenabled = true\n[typo]\na = 1",
    )
    assert settings.unknown_keys == ("api.prot", "typo.a")
    assert set(settings.idle_keys) == {"analytics", "auth.third_party"}


def test_each_function_has_its_own_settings(tmp_path: Path) -> None:
    settings = load(tmp_path, '[functions.hook]\nverify_jwt = false\ntimeout = "5s"')
    assert settings.function("hook").verify_jwt is False
    assert settings.function("hook").timeout_s == 5
    assert settings.function("other").verify_jwt is True


def test_a_section_that_is_off_needs_no_variables(tmp_path: Path) -> None:
    text = '[auth.external.google]\nenabled = {}\nclient_id = "env(NOT_THERE)"\n'
    settings = load(tmp_path, text.format("false"))
    assert settings.auth.external["google"].client_id == ""
    with pytest.raises(ConfigError, match="NOT_THERE"):
        load(tmp_path, text.format("true"))


@pytest.mark.req("P17")
@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ('[basalt.alerts]\nwebhook_url = "pager"', "alerts.webhook_url: expected an address"),
        (
            '[basalt.alerts.rules.queue_age]\nthreshold = "high"',
            r"threshold: expected a number, found .* \('high'\)",
        ),
    ],
)
def test_alerts_that_could_reach_nobody_or_never_fire_are_named(
    tmp_path: Path, toml: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load(tmp_path, toml)
