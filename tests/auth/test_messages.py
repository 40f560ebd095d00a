"""What leaves the house: the project's own mails, in the user's language, by its own senders, and what goes wrong."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from basalt.access import Authoriser, load_project_keys
from basalt.auth import AuthService, check_message_settings
from basalt.config import (
    ConfigError,
    MailTemplateSettings,
    NotificationSettings,
    SmtpSettings,
    load_settings,
)
from basalt.postgres import DatabaseAccess
from basalt.senders import Mail, TextMessage
from tests.auth.conftest import PASSWORD, AuthClient, StartAuth
from tests.fakes.sms import ACCOUNT, FakeSms
from tests.fakes.smtp import PASSWORD as SECRET_WORD
from tests.fakes.smtp import USER, fake_smtp

pytestmark = pytest.mark.req("P6")

EMAIL = "ada@example.com"
PHONE = "60123456789"
CONFIRM = {"enable_confirmations": True}

StartProject = Callable[[str, dict[str, str]], Awaitable[AuthClient]]


@pytest.fixture
async def start_project(database: DatabaseAccess, tmp_path: Path) -> AsyncIterator[StartProject]:
    """`await start_project(config_toml, {path: text})` opens Auth for a project folder with these files."""
    async with AsyncExitStack() as stack:

        async def start(config: str, files: dict[str, str]) -> AuthClient:
            for name, text in {"supabase/config.toml": config, **files}.items():
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_text(text, "utf-8")
            settings = load_settings(tmp_path, {})
            keys = load_project_keys(settings.state_dir, settings)
            service = AuthService(settings, keys, Authoriser(keys), database, bcrypt_rounds=4)
            await service.open()
            stack.push_async_callback(service.close)
            return AuthClient(service, keys, database, settings)

        yield start


def events(capsys: pytest.CaptureFixture[str], name: str) -> list[dict[str, Any]]:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    return [event for line in lines if (event := orjson.loads(line))["event"] == name]


SPARKY = """
[auth.email]
enable_confirmations = true
otp_length = 6

[auth.email.template.confirmation]
subject = "Your Sparky code"
content_path = "./supabase/templates/confirmation.html"
"""
SPARKY_MAIL = """<!doctype html>
<html><head><title>Sparky</title></head><body>
<h2>Confirm your signup</h2>
<p>Enter this code in the app:</p>
<p style="font-size: 32px; letter-spacing: 8px"><strong>{{ .Token }}</strong></p>
</body></html>
"""


@pytest.mark.req("S2")
async def test_sparkys_confirmation_is_a_six_digit_code_and_no_link(start_project: StartProject) -> None:
    auth = await start_project(SPARKY, {"supabase/templates/confirmation.html": SPARKY_MAIL})
    await auth.post("/signup", {"email": EMAIL, "password": PASSWORD})
    [mail] = auth.inbox(EMAIL)
    code = auth.code(EMAIL)
    assert len(code) == 6
    assert code.isdecimal()
    assert mail["subject"] == "Your Sparky code"
    assert mail["body_text"] == f"Confirm your signup\n\nEnter this code in the app:\n\n{code}\n"
    assert f"<strong>{code}</strong>" in mail["body_html"]
    assert "http" not in mail["body_html"] + mail["body_text"]
    assert await auth.session("/verify", {"type": "signup", "email": EMAIL, "token": code})


AGENTWISE = """
[auth.email]
enable_confirmations = true

[auth.email.template.confirmation]
subject = "Welcome to Agentwise!"
content = 'Please confirm your email: <a href="{{ .ConfirmationURL }}">confirm</a>'

[auth.email.template.recovery]
subject = "Reset your Agentwise password"
content_path = "./templates/recovery.html"
"""


async def test_agentwises_mails_have_its_own_subjects_and_words(start_project: StartProject) -> None:
    auth = await start_project(
        AGENTWISE,
        {"supabase/templates/recovery.html": '<a href="{{ .ConfirmationURL }}">Click here to reset</a>'},
    )
    await auth.post("/signup", {"email": EMAIL, "password": PASSWORD})
    [mail] = auth.inbox(EMAIL)
    link = mail["data"]["confirmation_url"]
    assert mail["subject"] == "Welcome to Agentwise!"
    assert mail["body_text"] == f"Please confirm your email: confirm ({link})\n"
    await auth.session("/verify", {"type": "signup", "email": EMAIL, "token": auth.code(EMAIL)})
    await auth.post("/recover", {"email": EMAIL})
    assert auth.inbox(EMAIL)[0]["subject"] == "Reset your Agentwise password"
    assert "Click here to reset" in auth.inbox(EMAIL)[0]["body_html"]


LANGUAGES = {
    "confirmation": MailTemplateSettings(
        subject="Welcome {{ .Data.name }}", content="<p>Hello {{ .Token }}</p>"
    ),
    "confirmation.pt": MailTemplateSettings(subject="Bem-vindo", content="<p>Olá {{ .Token }}</p>"),
    "confirmation.pt-BR": MailTemplateSettings(subject="Boas-vindas"),
    "confirmation.de": MailTemplateSettings(content="<p>Hallo {{ .Token }}</p>"),
}


@pytest.mark.parametrize(
    ("data", "subject", "greeting"),
    [
        ({}, "Welcome", "Hello"),
        ({"language": "pt"}, "Bem-vindo", "Olá"),
        ({"lang": "pt-PT"}, "Bem-vindo", "Olá"),
        ({"locale": "pt_BR"}, "Boas-vindas", "Hello"),
        ({"locale": "DE-at"}, "Welcome", "Hallo"),
        ({"language": "fr"}, "Welcome", "Hello"),
        ({"language": 5, "lang": None, "locale": "de"}, "Welcome", "Hallo"),
        ({"language": "../../pt"}, "Welcome", "Hello"),
        ({"language": "p" * 100_000}, "Welcome", "Hello"),
    ],
)
async def test_a_mail_is_in_the_users_language_or_the_plain_one(
    start_auth: StartAuth, data: dict[str, Any], subject: str, greeting: str
) -> None:
    auth = await start_auth(email=CONFIRM | {"template": LANGUAGES})
    await auth.post("/signup", {"email": EMAIL, "password": PASSWORD, "data": data})
    [mail] = auth.inbox(EMAIL)
    assert (mail["subject"], mail["body_text"].split()[0]) == (subject, greeting)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (
            '[auth.email.template.recovery]\ncontent_path = "./supabase/none.html"',
            "supabase/config.toml: auth.email.template.recovery.content_path: there is no file ./supabase/none.html",
        ),
        (
            '[auth.email.template.recovery]\ncontent_path = "./supabase/broken.html"',
            "supabase/broken.html: auth.email.template.recovery.content_path: line 2: There is no function `Token`",
        ),
        (
            '[auth.email.template.recovery]\ncontent_path = "./supabase/latin.html"',
            "supabase/latin.html: auth.email.template.recovery.content_path: the file cannot be read",
        ),
        (
            '[auth.email.template.invite]\nsubject = "{{ if .Data }}"',
            "supabase/config.toml: auth.email.template.invite.subject: line 1: This `if` has no `end`",
        ),
        (
            '[auth.email.template.invite]\ncontent = "<a {{ .Data.x }}>"',
            "supabase/config.toml: auth.email.template.invite.content: line 1: A value inside a tag",
        ),
        (
            '[auth.email.template.invite]\ncontent = "x"\ncontent_path = "./supabase/broken.html"',
            "supabase/config.toml: auth.email.template.invite.content: there is a content_path too",
        ),
        (
            '[auth.email.template."invite.de"]\nsubject = "{{ end }}"',
            'supabase/config.toml: auth.email.template."invite.de".subject: line 1: ',
        ),
        (
            '[auth.email.notification.password_changed]\nenabled = true\nsubject = "{{ }}"',
            "supabase/config.toml: auth.email.notification.password_changed.subject: line 1: ",
        ),
        (
            '[auth.sms]\ntemplate = "{{ .Code"',
            "supabase/config.toml: auth.sms.template: line 1: A `{{` is not closed",
        ),
        (
            '[auth.mfa.phone]\ntemplate = "{{ Code }}"',
            "supabase/config.toml: auth.mfa.phone.template: line 1: There is no function",
        ),
        (
            "[auth.sms.twilio]\nenabled = true\n",
            "supabase/config.toml: auth.sms.twilio.account_sid: it is missing",
        ),
        (
            '[auth.email.smtp]\nhost = "smtp.example.com"\nadmin_email = "nobody"',
            "supabase/config.toml: auth.email.smtp.admin_email: this is no address",
        ),
    ],
)
async def test_what_will_not_do_stops_the_start_with_its_place(
    start_project: StartProject, tmp_path: Path, config: str, problem: str
) -> None:
    (tmp_path / "supabase").mkdir()
    (tmp_path / "supabase" / "latin.html").write_bytes(b"\xe9")
    with pytest.raises(ConfigError) as caught:
        await start_project(config, {"supabase/broken.html": "<p>\n{{ Token }}</p>"})
    assert f"{tmp_path}/{problem}" in str(caught.value)
    with pytest.raises(ConfigError):  # the supervisor asks before it starts anything
        check_message_settings(load_settings(tmp_path, {}))


async def test_a_start_names_every_mistake_at_once(start_project: StartProject) -> None:
    config = '[auth.email.template.invite]\nsubject = "{{"\n[auth.email.template.recovery]\ncontent = "{{"\n'
    with pytest.raises(ConfigError) as caught:
        await start_project(config, {})
    assert len(caught.value.problems) == 2


async def test_a_mail_that_does_not_exist_is_reported_and_a_silent_notice_not_read(
    start_project: StartProject, capsys: pytest.CaptureFixture[str]
) -> None:
    config = '[auth.email.template.signup]\nsubject = "x"\n[auth.email.notification.email_changed]\nsubject = "{{"\n'
    await start_project(config, {})
    assert [event["key"] for event in events(capsys, "unknown_mail")] == ["auth.email.template.signup"]


async def test_a_changed_template_is_read_again_in_development(
    start_project: StartProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    auth = await start_project(SPARKY, {"supabase/templates/confirmation.html": "<p>one {{ .Token }}</p>"})
    file = tmp_path / "supabase/templates/confirmation.html"

    async def first_word() -> str:
        await auth.post("/signup", {"email": EMAIL, "password": PASSWORD})
        auth.rows("update auth.users set confirmation_sent_at = null")
        word: str = auth.inbox(EMAIL)[0]["body_text"].split()[0]
        return word

    assert await first_word() == "one"
    file.write_text("<p>second {{ .Token }}</p>")
    assert await first_word() == "second"
    file.write_text("<p>broken {{ .Token </p>")
    assert await first_word() == "second"
    assert await first_word() == "second"
    [event] = events(capsys, "mail_template_broken")
    assert event["reason"].startswith(f"{file}: auth.email.template.confirmation.content_path: line 1: ")
    file.unlink()
    assert await first_word() == "second"
    file.write_text("<p>third {{ .Token }}</p>")
    assert await first_word() == "third"


async def test_with_a_server_templates_stay_as_they_were_read(
    start_project: StartProject, tmp_path: Path
) -> None:
    async with fake_smtp() as fake:
        server = f'[auth.email.smtp]\nhost = "127.0.0.1"\nport = {fake.port}\nuser = "{USER}"\npass = "{SECRET_WORD}"\n'
        auth = await start_project(
            SPARKY + server, {"supabase/templates/confirmation.html": "<p>one {{ .Token }}</p>"}
        )
        (tmp_path / "supabase/templates/confirmation.html").write_text("<p>two {{ .Token }}</p>")
        answer = await auth.post("/signup", {"email": EMAIL, "password": PASSWORD})
        assert answer.status == 200
        assert auth.inbox() == []
        [mail] = fake.mails
        assert mail["Subject"] == "Your Sparky code"
        body = mail.get_body(("plain",))
        assert body is not None
        one, code = body.get_content().split()
        assert one == "one"
        assert await auth.session("/verify", {"type": "signup", "email": EMAIL, "token": code})
        await auth.service.close()


async def test_a_server_that_refuses_leaves_no_user_behind(start_auth: StartAuth) -> None:
    async with fake_smtp() as fake:
        fake.answers = {"RCPT": ["550 No such user"]}
        auth = await start_auth(email=CONFIRM | {"smtp": SmtpSettings(host="127.0.0.1", port=fake.port)})
        answer = await auth.post("/signup", {"email": EMAIL, "password": PASSWORD})
        assert answer.error == (500, "unexpected_failure")
        assert answer.json["msg"] == "Error sending confirmation email"
        assert auth.rows("select 1 from auth.users") == []
        await auth.post("/signup", {"email": EMAIL, "password": PASSWORD})
        assert len(fake.mails) == 1
        await auth.service.close()


async def test_no_header_comes_out_of_a_users_name(start_auth: StartAuth) -> None:
    template = {"confirmation": MailTemplateSettings(subject="Hello {{ .Data.name }}!")}
    async with fake_smtp() as fake:
        smtp = SmtpSettings(host="127.0.0.1", port=fake.port)
        auth = await start_auth(email=CONFIRM | {"template": template, "smtp": smtp})
        name = "Ada\r\nBcc: eve@example.com\r\n\r\n<b>\u2028x\x85y\x00"[:-1]
        await auth.post("/signup", {"email": EMAIL, "password": PASSWORD, "data": {"name": name}})
        [mail], [(_, recipients)] = fake.mails, fake.envelopes
        assert mail["Subject"] == "Hello Ada Bcc: eve@example.com <b> x y!"
        assert "Bcc" not in mail
        assert recipients == [EMAIL]
        await auth.service.close()


async def test_a_mail_without_measure_is_not_sent(start_auth: StartAuth) -> None:
    loop = "{{ range .Data.l }}{{ range $.Data.l }}{{ range $.Data.l }}x{{ end }}{{ end }}{{ end }}"
    auth = await start_auth(
        email=CONFIRM | {"template": {"confirmation": MailTemplateSettings(content=loop)}}
    )
    answer = await auth.post("/signup", {"email": EMAIL, "password": PASSWORD, "data": {"l": [0] * 500}})
    assert answer.error == (500, "unexpected_failure")


NOTICES = {
    name: NotificationSettings(enabled=True)
    for name in ("password_changed", "email_changed", "phone_changed")
}


async def test_who_changes_a_password_or_address_is_told_so(start_auth: StartAuth) -> None:
    auth = await start_auth(
        email={"notification": NOTICES, "double_confirm_changes": False}, sms={"enable_confirmations": False}
    )
    await auth.a_user()
    token = (await auth.sign_in())["access_token"]
    await auth.send("PUT", "/user", {"password": "another good password"}, token=token)
    assert [mail["kind"] for mail in auth.inbox(EMAIL)] == ["password_changed_notification"]
    assert EMAIL in auth.inbox(EMAIL)[0]["body_text"]
    await auth.send("PUT", "/user", {"phone": PHONE}, token=token)
    assert auth.inbox(EMAIL)[0]["kind"] == "phone_changed_notification"
    assert PHONE in auth.inbox(EMAIL)[0]["body_text"]
    await auth.send("PUT", "/user", {"email": "new@example.com"}, token=token)
    body = {"type": "email_change", "email": "new@example.com", "token": auth.code("new@example.com")}
    assert (await auth.post("/verify", body)).status == 200
    notice = auth.inbox(EMAIL)[0]
    assert notice["kind"] == "email_changed_notification"
    assert "new@example.com instead of ada@example.com" in notice["body_text"]
    assert [mail["kind"] for mail in auth.inbox("new@example.com")] == ["email_change"]


async def test_a_changed_phone_is_told_of_when_it_is_proven(start_auth: StartAuth) -> None:
    auth = await start_auth(email={"notification": NOTICES})
    await auth.a_user()
    token = (await auth.sign_in())["access_token"]
    await auth.send("PUT", "/user", {"phone": PHONE}, token=token)
    assert auth.inbox(EMAIL) == []
    body = {"type": "phone_change", "phone": PHONE, "token": auth.code(PHONE)}
    assert (await auth.post("/verify", body)).status == 200
    assert [mail["kind"] for mail in auth.inbox(EMAIL)] == ["phone_changed_notification"]


async def test_notices_are_in_the_projects_own_words(start_auth: StartAuth) -> None:
    own = NotificationSettings(
        enabled=True, subject="Hi {{ .Data.name }}", content="<p>{{ .Email }} changed</p>"
    )
    auth = await start_auth(email={"notification": {"password_changed": own}})
    await auth.a_user(user_metadata={"name": "Ada"})
    token = (await auth.sign_in())["access_token"]
    await auth.send("PUT", "/user", {"password": "another good password"}, token=token)
    [mail] = auth.inbox(EMAIL)
    assert (mail["subject"], mail["body_text"]) == ("Hi Ada", "ada@example.com changed\n")


async def test_without_being_asked_for_there_are_no_notices(auth: AuthClient) -> None:
    await auth.a_user()
    token = (await auth.sign_in())["access_token"]
    assert (await auth.send("PUT", "/user", {"password": "another good one"}, token=token)).status == 200
    assert auth.inbox() == []


class BrokenSender:
    async def send(self, message: object) -> None:
        raise ConnectionError("the server is down")


async def test_a_notice_that_cannot_be_sent_undoes_nothing(
    start_auth: StartAuth, capsys: pytest.CaptureFixture[str]
) -> None:
    auth = await start_auth(email={"notification": NOTICES}, sender=BrokenSender())
    await auth.a_user()
    token = (await auth.sign_in())["access_token"]
    answer = await auth.send("PUT", "/user", {"password": "another good password"}, token=token)
    assert answer.status == 200
    assert await auth.sign_in(password="another good password")
    assert len(events(capsys, "notice_not_sent")) == 1


class SlowSender:
    """Keeps everybody waiting until `released`."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.sending = 0

    async def send(self, message: Mail | TextMessage) -> None:
        self.sending += 1
        await self.released.wait()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"email": "u{}@example.com"}, "over_email_send_rate_limit"),
        ({"phone": "6012345{:04}"}, "over_sms_send_rate_limit"),
    ],
)
async def test_a_slow_provider_does_not_stop_requests_that_send_nothing(
    start_auth: StartAuth, body: dict[str, str], code: str
) -> None:
    sender = SlowSender()
    auth = await start_auth(sender=sender)
    await auth.a_user()
    [(name, pattern)] = body.items()
    flows = [asyncio.create_task(auth.post("/otp", {name: pattern.format(n)})) for n in range(40)]
    await until(lambda: sum(flow.done() for flow in flows) == 28)
    assert sender.sending == 8
    for flow in flows:
        if flow.done():
            assert flow.result().error == (429, code)
            assert flow.result().headers["retry-after"] == "5"
    assert await auth.sign_in()
    sender.released.set()
    answers = await asyncio.gather(*flows)
    assert sorted(answer.status for answer in answers) == [200] * 12 + [429] * 28
    assert sender.sending == 12


async def test_who_waits_too_long_behind_a_slow_provider_is_told_so(start_auth: StartAuth) -> None:
    sender = SlowSender()
    auth = await start_auth(email={"smtp": SmtpSettings(timeout_s=0.3)}, sender=sender)
    flows = [asyncio.create_task(auth.post("/otp", {"email": f"u{n}@example.com"})) for n in range(9)]
    await until(lambda: any(flow.done() for flow in flows))
    [late] = [flow for flow in flows if flow.done()]
    assert late.result().error == (504, "request_timeout")
    sender.released.set()
    assert [answer.status for answer in await asyncio.gather(*flows)].count(200) == 8


async def test_a_broken_provider_makes_codes_fail_and_never_the_inbox(
    start_project: StartProject, sms: FakeSms
) -> None:
    config = f"""
[auth.sms]
enable_signup = true
enable_confirmations = true
[auth.sms.vonage]
enabled = true
from = "Agentwise"
api_key = "{ACCOUNT}"
api_secret = "wrong"
api_url = "{sms.url}"
"""
    auth = await start_project(config, {})
    assert (await auth.get("/settings")).json["sms_provider"] == "vonage"
    answer = await auth.post("/otp", {"phone": PHONE})
    assert answer.error == (422, "sms_send_failed")
    assert answer.json["msg"] == "Error sending confirmation OTP to provider"
    assert auth.inbox() == []
    assert auth.rows("select 1 from auth.users") == []
    for path in ("/otp", "/signup"):
        body = {"phone": PHONE, "password": PASSWORD, "channel": "whatsapp"}
        refused = await auth.post(path, body)
        assert refused.error == (400, "validation_failed")
        assert refused.json["msg"] == "Invalid channel, supported values are 'sms' or 'whatsapp'."


async def test_settings_name_no_provider_where_there_is_none(auth: AuthClient) -> None:
    assert (await auth.get("/settings")).json["sms_provider"] == ""


async def test_templates_are_found_from_the_project_first_and_from_supabase_second(
    start_project: StartProject,
) -> None:
    config = SPARKY.replace("./supabase/templates/confirmation.html", "templates/confirmation.html")
    files = {
        "templates/confirmation.html": "<p>project {{ .Token }}</p>",
        "supabase/templates/confirmation.html": "<p>supabase {{ .Token }}</p>",
    }
    auth = await start_project(config, files)
    await auth.post("/signup", {"email": EMAIL, "password": PASSWORD})
    assert auth.inbox(EMAIL)[0]["body_text"].startswith("project ")


async def test_every_variable_of_gotrue_is_there(start_auth: StartAuth) -> None:
    names = (
        "SiteURL",
        "RedirectTo",
        "Email",
        "NewEmail",
        "SendingTo",
        "Token",
        "TokenHash",
        "ConfirmationURL",
    )
    subject = "|".join(f"{{{{ .{name} }}}}" for name in names) + "|{{ .Data.name }}"
    auth = await start_auth(
        email={"template": {"email_change": MailTemplateSettings(subject=subject)}},
        additional_redirect_urls=("https://app.example.com/**",),
    )
    await auth.a_user(user_metadata={"name": "Ada"})
    token = (await auth.sign_in())["access_token"]
    target = "/user?redirect_to=https://app.example.com/done"
    await auth.send("PUT", target, {"email": "new@example.com"}, token=token)
    for to in (EMAIL, "new@example.com"):
        [mail] = auth.inbox(to)
        data = mail["data"]
        assert mail["subject"].split("|") == [
            "http://127.0.0.1:3000",
            "https://app.example.com/done",
            EMAIL,
            "new@example.com",
            to,
            data["token"],
            data["token_hash"],
            data["confirmation_url"],
            "Ada",
        ]
