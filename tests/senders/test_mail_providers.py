"""Who sends what: by the environment, completely configured or not at all, and never by the Inbox in production."""

import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import run

import pytest

from basalt.config import ConfigError, Settings, load_settings
from basalt.postgres import open_pool
from basalt.senders import build_delivery_senders, check_provider_keys, choose_provider, report_readers
from tests.fakes.resend import SECRET
from tests.fakes.sendgrid import EventSigner
from tests.projects import write_project

pytestmark = pytest.mark.req("P13", "M8")

RESEND = '[notify.PLACE.resend]\napi_key = "re_1"\nfrom = "Habits <hi@habits.example>"\n'
SENDGRID = '[notify.PLACE.sendgrid]\napi_key = "SG.1"\nfrom = "hi@habits.example"\n'
SMTP = '[notify.PLACE.smtp]\nhost = "smtp.habits.example"\nfrom = "hi@habits.example"\n'
TWILIO = '[notify.PLACE.twilio]\naccount_sid = "AC1"\nauth_token = "t"\nfrom = "MG1"\n'
EXPO = "[notify.PLACE.expo]\nenabled = true\n"
AUTH_SMTP = '[auth.email.smtp]\nhost = "smtp.auth.example"\nadmin_email = "no-reply@auth.example"\n'
AUTH_VONAGE = '[auth.sms.vonage]\nenabled = true\nfrom = "Habits"\napi_key = "k"\napi_secret = "s"\n'
AUTH_TWILIO = (
    '[auth.sms.twilio]\nenabled = true\naccount_sid = "AC2"\nauth_token = "t2"\nmessage_service_sid = "MG2"\n'
)


def settings_with(
    folder: Path, environment: str, config: str, environ: Mapping[str, str] | None = None, head: str = ""
) -> Settings:
    """`PLACE` in the config stands for the environment's own section."""
    place = "sandbox" if environment == "sandbox" else "providers"
    text = f'[notify]\nenvironment = "{environment}"\n{head}\n' + config.replace("PLACE", place)
    return load_settings(write_project(folder, {"config.toml": text}), environ or {})


async def names_of(settings: Settings) -> set[str]:
    senders = build_delivery_senders(settings, open_pool("host=nowhere.invalid", name="test"))
    for sender in senders.values():
        await sender.close()
    return set(senders)


@pytest.mark.parametrize("environment", ["production", "sandbox"])
async def test_each_environment_has_what_its_own_section_says(environment: str, tmp_path: Path) -> None:
    settings = settings_with(tmp_path, environment, RESEND + TWILIO + EXPO)
    assert await names_of(settings) == {"resend", "twilio", "expo"}


async def test_what_the_other_environment_has_does_not_count(tmp_path: Path) -> None:
    production = RESEND.replace("PLACE", "providers") + TWILIO.replace("PLACE", "providers")
    assert await names_of(settings_with(tmp_path, "sandbox", production)) == set()
    sandbox = production.replace("providers", "sandbox")
    assert await names_of(settings_with(tmp_path, "production", sandbox)) == set()


async def test_in_the_inbox_environment_nobody_else_sends(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, "inbox", RESEND + TWILIO + AUTH_SMTP + AUTH_VONAGE)
    assert await names_of(settings) == {"inbox"}
    assert report_readers(settings) == {}


async def test_production_without_a_provider_has_no_inbox(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, "production", EXPO)
    senders = build_delivery_senders(settings, open_pool("host=nowhere.invalid", name="test"))
    assert [choose_provider(channel, None, senders) for channel in ("email", "sms", "push")] == [None] * 3
    assert choose_provider("push", "expo", senders) == "expo"
    for sender in senders.values():
        await sender.close()


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (AUTH_SMTP + AUTH_TWILIO, {"smtp", "twilio"}),
        (AUTH_SMTP + AUTH_VONAGE, {"smtp", "vonage"}),
        (RESEND + AUTH_SMTP + TWILIO + AUTH_VONAGE, {"resend", "twilio"}),
    ],
)
async def test_in_production_auths_senders_stand_in(config: str, names: set[str], tmp_path: Path) -> None:
    assert await names_of(settings_with(tmp_path, "production", config)) == names
    alone = config.replace(RESEND, "").replace(TWILIO, "")
    assert await names_of(settings_with(tmp_path, "sandbox", alone)) == set()


async def test_one_of_several_mail_providers_is_chosen(tmp_path: Path) -> None:
    both = RESEND + SENDGRID
    settings = settings_with(tmp_path, "production", both, head='email_provider = "sendgrid"')
    assert await names_of(settings) == {"sendgrid"}
    with pytest.raises(ConfigError, match=r"config\.toml: notify\.email_provider: resend and sendgrid are"):
        settings_with(tmp_path, "production", both)
    with pytest.raises(ConfigError, match=r"notify\.email_provider: providers\.smtp is not configured"):
        settings_with(tmp_path, "production", both, head='email_provider = "smtp"')
    settings = settings_with(tmp_path, "production", RESEND + AUTH_SMTP, head='email_provider = "smtp"')
    assert await names_of(settings) == {"smtp"}


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ('[notify.PLACE.resend]\napi_key = "re_1"\n', "resend.from"),
        ('[notify.PLACE.resend]\nfrom = "hi@habits.example"\n', "resend.api_key"),
        ('[notify.PLACE.resend]\napi_key = "re_1"\nfrom = "Habits"\n', "resend.from"),
        (
            '[notify.PLACE.sendgrid]\napi_key = "SG.1"\nfrom = "a@b.example\\r\\nBcc: c@d.example"\n',
            "sendgrid.from",
        ),
        ('[notify.PLACE.smtp]\nhost = "smtp.habits.example"\n', "smtp.from"),
        ('[notify.PLACE.twilio]\naccount_sid = "AC1"\nfrom = "MG1"\n', "twilio.auth_token"),
        ('[notify.PLACE.apns]\nkey = "k"\nkey_id = "i"\nteam_id = "t"\n', "apns.topic"),
        ('[notify.PLACE.onesignal]\napi_key = "k"\n', "onesignal.app_id"),
        ('[notify.PLACE.webpush]\nprivate_key = "k"\n', "webpush.subject"),
        ('[notify.PLACE.resend]\napi_key = "re_1\\n"\nfrom = "hi@habits.example"\n', "resend.api_key"),
        ('[notify.PLACE.sendgrid]\napi_key = "SG.ü"\nfrom = "hi@habits.example"\n', "sendgrid.api_key"),
        (TWILIO.replace('"t"', '"t "'), "twilio.auth_token"),
    ],
)
@pytest.mark.parametrize("environment", ["production", "sandbox"])
def test_a_provider_that_is_configured_by_half_stops_the_start(
    environment: str, config: str, key: str, tmp_path: Path
) -> None:
    place = "providers" if environment == "production" else environment
    with pytest.raises(ConfigError, match=rf"config\.toml: notify\.{place}\.{key}: "):
        settings_with(tmp_path, environment, config)
    settings_with(tmp_path, "inbox", config)


def test_variables_of_the_other_environment_need_not_be_set(tmp_path: Path) -> None:
    config = (
        '[notify.providers.resend]\napi_key = "env(RESEND_KEY)"\nfrom = "hi@habits.example"\n'
        '[notify.sandbox.twilio]\nauth_token = "env(TWILIO_TEST_TOKEN)"\n'
    )
    assert settings_with(tmp_path, "inbox", config).notify.providers.resend.api_key == ""
    with pytest.raises(ConfigError, match="RESEND_KEY is not set"):
        settings_with(tmp_path, "production", config)
    environ = {"RESEND_KEY": "re_1", "SUPABASE_NOTIFY_ENVIRONMENT": "production"}
    assert settings_with(tmp_path, "inbox", config, environ).notify.credentials.resend.api_key == "re_1"


def test_webhooks_are_read_where_they_can_be_checked(tmp_path: Path) -> None:
    signed = (
        f'[notify.PLACE.resend]\napi_key = "re_1"\nfrom = "hi@habits.example"\nwebhook_secret = "{SECRET}"\n'
        f'[notify.PLACE.sendgrid]\nwebhook_public_key = "{EventSigner().public_key}"\n'
    )
    settings = settings_with(tmp_path, "production", signed + TWILIO)
    assert set(report_readers(settings)) == {"resend", "sendgrid", "twilio"}
    assert set(report_readers(settings_with(tmp_path, "production", RESEND + AUTH_TWILIO))) == {"twilio"}
    assert set(report_readers(settings_with(tmp_path, "production", RESEND))) == set()
    bad = '[notify.PLACE.sendgrid]\nwebhook_public_key = "AAAA"\n'
    broken = settings_with(tmp_path, "sandbox", bad, head="enabled = true")
    with pytest.raises(ConfigError, match=r"config\.toml: notify\.sandbox\.sendgrid\.webhook_public_key: "):
        check_provider_keys(broken)


def test_providers_that_nobody_uses_are_not_loaded() -> None:
    script = (
        "import sys, basalt.senders; print([name for name in ('resend', 'sendgrid', 'smtp_delivery', 'mixpanel', "
        "'twilio_messages', 'twilio_reports', 'fcm', 'webpush') if 'basalt.senders.' + name in sys.modules])"
    )
    printed = run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed == "[]\n"
