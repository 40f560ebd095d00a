"""Push providers as a project's settings ask for them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from basalt.config import ConfigError, Settings, load_settings
from basalt.senders import DeliverySender, build_delivery_senders, check_provider_keys
from tests.fakes.apns import FakeApns
from tests.fakes.fcm import FakeFcm

pytestmark = pytest.mark.req("P13", "M8")

VAPID = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "supabase"
    folder.mkdir()
    (folder / "fcm.json").write_text(FakeFcm(url="http://localhost").service_account())
    (folder / "AuthKey.p8").write_text(FakeApns().pem())
    (folder / "vapid.txt").write_text(f"{VAPID}\n")
    return tmp_path


def settings_of(project: Path, text: str) -> Settings:
    (project / "supabase" / "config.toml").write_text(f"[notify]\nenabled = true\n{text}")
    return load_settings(project, {})


def build(project: Path, text: str) -> Mapping[str, DeliverySender]:
    return build_delivery_senders(settings_of(project, text), cast(Any, None))


ALL = """
[notify.{place}.fcm]
service_account = "@fcm.json"
[notify.{place}.apns]
key = "@AuthKey.p8"
key_id = "ABC123DEFG"
team_id = "DEF123GHIJ"
topic = "app.gigwork"
[notify.{place}.expo]
enabled = true
[notify.{place}.onesignal]
app_id = "0f4ad0ee-5ef2-4e1b-a1c4-2a7a9ea0c1d5"
api_key = "os_v2_app"
[notify.{place}.webpush]
private_key = "@vapid.txt"
subject = "mailto:ops@gigwork.example"
"""


async def test_every_provider_that_is_configured_is_there(project: Path) -> None:
    text = 'environment = "production"\n' + ALL.format(place="providers")
    check_provider_keys(settings_of(project, text))
    senders = build(project, text)
    assert set(senders) == {"fcm", "apns", "expo", "onesignal", "webpush"}
    assert all(sender.name == name for name, sender in senders.items())
    for sender in senders.values():
        await sender.close()


@pytest.mark.parametrize(
    ("environment", "place", "found"),
    [
        ("sandbox", "sandbox", 5),
        ("sandbox", "providers", 0),
        ("production", "sandbox", 0),
        ("inbox", "providers", 1),
    ],
)
async def test_credentials_of_another_environment_do_not_count(
    project: Path, environment: str, place: str, found: int
) -> None:
    senders = build(project, f'environment = "{environment}"\n' + ALL.format(place=place))
    assert len(senders) == found
    if environment == "inbox":
        assert set(senders) == {"inbox"}
    for sender in senders.values():
        await sender.close()


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("@missing.json", "the file cannot be read: No such file or directory"),
        ("@", "the file cannot be read: Is a directory"),
        ("@binary", "the file cannot be read: it is no text"),
        ("@large", "the file cannot be read: it is no text"),
    ],
)
def test_a_key_file_that_cannot_be_read_is_named(project: Path, named: str, reason: str) -> None:
    (project / "supabase" / "binary").write_bytes(b"\xff\xfe")
    (project / "supabase" / "large").write_bytes(b"x" * 70_000)
    text = f'environment = "sandbox"\n[notify.sandbox.fcm]\nservice_account = "{named}"'
    with pytest.raises(ConfigError, match=rf"notify\.sandbox\.fcm\.service_account: {reason}"):
        settings_of(project, text)
    settings_of(project, text.replace("sandbox.fcm", "providers.fcm"))  # which does not count


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ('fcm]\nservice_account = "{}"', "fcm.service_account"),
        ('apns]\nkey = "a secret"\nkey_id = "a"\nteam_id = "b"\ntopic = "c"', "apns.key"),
        ('webpush]\nprivate_key = "a secret"\nsubject = "mailto:a@b.example"', "webpush.private_key"),
    ],
)
def test_a_key_that_is_none_stops_the_start_and_is_not_shown(project: Path, section: str, key: str) -> None:
    settings = settings_of(project, f'environment = "production"\n[notify.providers.{section}')
    with pytest.raises(ConfigError, match=rf"notify\.providers\.{key}: this is no") as caught:
        check_provider_keys(settings)
    assert "a secret" not in str(caught.value)
    with pytest.raises(ConfigError, match=rf"notify\.providers\.{key}: this is no"):
        build_delivery_senders(settings, cast(Any, None))
    check_provider_keys(settings_of(project, f"[notify.providers.{section}"))  # which the Inbox does not use


def test_a_service_account_whose_key_is_none_stops_the_start(project: Path) -> None:
    file = project / "supabase" / "fcm.json"
    account = json.loads(file.read_text())
    file.write_text(json.dumps({**account, "private_key": account["private_key"].replace("MII", "XXX")}))
    with pytest.raises(ConfigError, match=r"notify\.providers\.fcm\.service_account: this is no"):
        build(project, 'environment = "production"\n[notify.providers.fcm]\nservice_account = "@fcm.json"')


def test_keys_stand_in_no_printed_settings(project: Path) -> None:
    settings = settings_of(project, 'environment = "production"\n' + ALL.format(place="providers"))
    account = json.loads((project / "supabase" / "fcm.json").read_text())
    shown = repr(settings)
    assert account["private_key"][30:60] not in shown
    assert VAPID not in shown
    assert "BEGIN PRIVATE KEY" not in shown
