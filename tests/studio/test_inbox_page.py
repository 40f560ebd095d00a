"""The Inbox in the console: every message as its user would see it, and nothing in a mail can act."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from basalt.postgres import DatabaseAccess
from basalt.senders import Delivery
from tests.fakes.browser import Page, a_page, find_browser
from tests.fakes.small_server import Received, Reply, small_server
from tests.studio.consoles import Console, running_console

pytestmark = pytest.mark.req("P13")

SCRIPT = "<script>alert(1)</script>"
NOTIFICATIONS = """
create table public.notifications (
    id uuid primary key default gen_random_uuid(), user_id uuid not null, type text, title text not null,
    body text not null, data jsonb not null default '{}', created_at timestamptz not null default now()
);
insert into auth.users (id, email) values ('00000000-0000-0000-0000-000000000001', 'ada@example.com');
"""
A_NOTIFICATION = """
insert into public.notifications (user_id, type, title, body)
values ('00000000-0000-0000-0000-000000000001', 'streak', %s, 'In the app')
"""


@pytest.fixture
async def console(tmp_path: Path, database: DatabaseAccess) -> AsyncIterator[Console]:
    async with running_console(tmp_path, database) as console:
        yield console


async def messages(console: Console, **query: Any) -> dict[str, Any]:
    answer = await console.browser.get("/inbox.json", params=query)
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return body


async def test_every_channel_looks_like_itself(console: Console) -> None:
    await console.inbox.deliver(
        [
            Delivery(
                "d-1", "ada@example.com", subject="Streak", body="Go on", html="<b>Go on</b>", channel="email"
            ),
            Delivery("d-2", "+4917012345678", body=f"Text {SCRIPT}", channel="sms"),
            Delivery(
                "d-3",
                "token:1",
                subject=f"Title {SCRIPT}",
                body="Body of the push",
                data={"image": "https://habits.example/1.png", "screen": "streak"},
                badge=3,
                channel="push",
            ),
            Delivery("d-4", "user-1", subject="In the app", body="Body", channel="in_app"),
            Delivery("d-5", "eve@example.com", subject=SCRIPT, body=f"Plain {SCRIPT}", channel="email"),
        ]
    )
    page = (await console.browser.get("/inbox")).text
    assert re.findall(r'<article id="message-\d+" class="(\w+)">', page) == [
        "email", "in_app", "push", "sms", "email"
    ]  # fmt: skip
    assert SCRIPT not in page
    assert page.count("<script>") == 1  # our own
    [frame] = re.findall(r"<iframe [^>]+>", page)
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in frame
    assert '<div class="bubble">Text &lt;script&gt;' in page
    assert '<img src="https://habits.example/1.png"' in page
    assert "Title &lt;script&gt;" in page
    assert "&#34;screen&#34;: &#34;streak&#34;" in page or '"screen": "streak"' in page


async def test_channel_recipient_and_place_choose(console: Console) -> None:
    await console.inbox.deliver(
        [
            Delivery(f"m-{number}", f"user{number % 2}@example.com", body=str(number), channel="email")
            for number in range(120)
        ]
        + [Delivery("s-1", "+4917012345678", body="text", channel="sms")]
    )
    assert [one["text"] for one in (await messages(console, channel="sms"))["messages"]] == ["text"]
    theirs = await messages(console, to="user1@example.com", limit=500)
    assert (len(theirs["messages"]), theirs["next"]) == (60, None)
    page = await console.browser.get("/inbox", params={"to": "user0@example.com"})
    seen = re.findall(r'<article id="(message-\d+)"', page.text)
    [older] = re.findall(r'href="/studio/inbox(\?[^"]+)" rel="next"', page.text)
    second = await console.browser.get("/inbox" + older.replace("&amp;", "&"))
    seen += re.findall(r'<article id="(message-\d+)"', second.text)
    assert len(seen) == len(set(seen)) == 60
    assert "<script>" not in second.text  # what is old does not refresh itself
    whole, place = [], None
    while True:
        part = await messages(console, limit=50, **({"before": place} if place else {}))
        whole += [one["id"] for one in part["messages"]]
        place = part["next"]
        if place is None:
            break
    assert len(whole) == len(set(whole)) == 121


async def test_a_bad_choice_is_a_clear_error(console: Console) -> None:
    for query, code in (
        ({"channel": "fax"}, "invalid_channel"),
        ({"before": "'; drop table x"}, "invalid_place"),
        ({"limit": "0"}, "invalid_limit"),
        ({"limit": "501"}, "invalid_limit"),
        ({"limit": "-1"}, "invalid_limit"),
        ({"limit": "²"}, "invalid_limit"),
        ({"before": "1_2026-01-01_" + "0" * 36}, "invalid_place"),
    ):
        answer = await console.browser.get("/inbox.json", params=query)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


async def test_a_recipient_that_nobody_can_have_has_no_messages(console: Console) -> None:
    assert await messages(console, to="ada\0@example.com") == {"messages": [], "next": None}


async def test_a_mail_is_a_document_of_its_own_in_which_nothing_acts(console: Console) -> None:
    await console.inbox.deliver([Delivery("d-1", "ada@example.com", html=SCRIPT, channel="email")])
    [mail] = (await messages(console))["messages"]
    answer = await console.browser.get(f"/inbox/{mail['id']}/mail")
    policy = answer.headers["content-security-policy"]
    assert answer.text.endswith(SCRIPT)
    assert "default-src 'none'" in policy
    assert "sandbox allow-popups allow-popups-to-escape-sandbox" in policy
    assert "frame-ancestors 'self'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    for number in ("0", "x", "9" * 30, "-1", "%C2%B2"):
        assert (await console.browser.get(f"/inbox/{number}/mail")).status_code == 404


async def test_only_the_machine_itself_and_the_secret_key_may_look(console: Console) -> None:
    await console.inbox.deliver([Delivery("d-1", "ada@example.com", html="x", channel="email")])
    [mail] = (await messages(console))["messages"]
    for path in ("/inbox", "/inbox.json", f"/inbox/{mail['id']}/mail"):
        for headers in (
            {"host": "evil.example"},
            {"origin": "https://evil.example"},
            {"sec-fetch-site": "cross-site"},
            {"x-forwarded-for": "203.0.113.1"},
            {"x-real-ip": "203.0.113.1"},
            {"via": "1.1 proxy"},
            {"x-forwarded-for": "203.0.113.1", "apikey": console.keys.anon_key},
        ):
            assert (await console.browser.get(path, headers=headers)).status_code == 403
        headers = {"x-forwarded-for": "203.0.113.1", "apikey": console.keys.service_role_key}
        assert (await console.browser.get(path, headers=headers)).status_code == 200


async def test_a_project_with_a_public_address_asks_for_the_key(
    tmp_path: Path, database: DatabaseAccess
) -> None:
    """The proxy before it may look like a browser on the machine, as nginx does unless it is told otherwise."""
    config = '[api]\nexternal_url = "https://api.habits.example"\n'
    async with running_console(tmp_path, database, config) as console:
        answer = await console.browser.get("/inbox")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "console_forbidden")
        headers = {"apikey": console.keys.service_role_key}
        assert (await console.browser.get("/inbox", headers=headers)).status_code == 200


@pytest.mark.parametrize("url", ["http://localhost:54321", "http://192.168.1.20:54321", "http://[::1]:54321"])
async def test_an_address_of_the_own_network_is_a_development_machines(
    url: str, tmp_path: Path, database: DatabaseAccess
) -> None:
    async with running_console(tmp_path, database, f'[api]\nexternal_url = "{url}"\n') as console:
        assert (await console.browser.get("/inbox")).status_code == 200


async def test_in_app_notifications_stand_among_the_others(tmp_path: Path, database: DatabaseAccess) -> None:
    async with running_console(tmp_path, database, "[notify]\nenabled = true\n") as console:
        async with console.pool.connection() as connection:
            await connection.execute(NOTIFICATIONS)
        for number in range(6):
            await console.inbox.deliver(
                [Delivery(f"d-{number}", "ada@example.com", body=f"mail {number}", channel="email")]
            )
            async with console.pool.connection() as connection:
                await connection.execute(A_NOTIFICATION, [f"app {number}"])
        expected = [name for number in range(5, -1, -1) for name in (f"app {number}", f"mail {number}")]
        seen, place = [], ""
        while True:
            part = await messages(console, limit=5, to="ada@example.com", before=place)
            seen += [one["subject"] or one["text"] for one in part["messages"]]
            place = part["next"]
            if place is None:
                break
        assert seen == expected
        only = await messages(console, channel="in_app")
        assert [one["subject"] for one in only["messages"]] == expected[::2]
        assert "app 5" in (await console.browser.get("/inbox")).text


# In a browser

HOSTILE = """<html><head>
<base href="OUT/base/">
<meta http-equiv="refresh" content="0;url=OUT/refresh">
<script>parent.postMessage("acted", "*"); fetch("OUT/script"); top.location = "OUT/top"</script>
<link rel="stylesheet" href="OUT/style.css">
</head><body onload="fetch('OUT/onload')">
<h1>Hello</h1>
<img src="x" onerror="fetch('OUT/onerror')"><img src="OUT/pixel.png">
<iframe src="OUT/frame"></iframe><object data="OUT/object"></object><embed src="OUT/embed">
<svg onload="fetch('OUT/svg')"><script>fetch('OUT/svgscript')</script></svg>
<form id="f" action="OUT/form" method="post"><input name="a" value="1"></form>
<a id="js" href="javascript:fetch('OUT/jslink')">Win</a>
<style>@import url(OUT/import.css); body { background: url(OUT/background.png) }</style>
</body></html>"""


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    browser = find_browser()
    if browser is None:
        pytest.skip("there is no Chromium: tools/install-test-browser could not install one, try it by hand")
    folder = tmp_path / "browser"
    folder.mkdir()
    opened = a_page(browser, folder)
    page = await asyncio.to_thread(opened.__enter__)
    try:
        yield page
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)


async def until(page: Page, expression: str) -> None:
    async with asyncio.timeout(15):
        while not await asyncio.to_thread(page.run, expression):
            await asyncio.sleep(0.05)


async def test_a_hostile_mail_acts_neither_in_its_frame_nor_by_itself(console: Console, page: Page) -> None:
    asked: list[str] = []

    def note(request: Received) -> Reply:
        asked.append(request.path)
        return Reply(200, b"", {"access-control-allow-origin": "*"})

    with small_server(note) as outside:
        html = HOSTILE.replace("OUT", outside)
        await console.inbox.deliver([Delivery("d-1", "ada@example.com", html=html, channel="email")])
        address = f"{console.url}/studio/inbox"
        await asyncio.to_thread(page.open, address)
        await asyncio.to_thread(
            page.run, "window.heard = []; onmessage = (event) => heard.push(event.data); true"
        )
        await until(
            page, "performance.getEntriesByType('resource').some((one) => one.name.endsWith('/mail'))"
        )
        assert await asyncio.to_thread(page.run, "document.querySelector('iframe').contentDocument") is None
        assert await asyncio.to_thread(page.run, "location.href") == address
        [mail] = (await messages(console))["messages"]
        alone = f"{address}/{mail['id']}/mail"
        await asyncio.to_thread(page.open, alone)
        click = "document.getElementById('js').click(); document.getElementById('f').submit(); origin"
        assert await asyncio.to_thread(page.run, click) == "null"
        shown = await asyncio.to_thread(page.run, "document.querySelector('h1').textContent + location.href")
        assert shown == f"Hello{alone}"
        # The next page is there: whatever the mail had begun would have arrived.
        await asyncio.to_thread(page.open, address)
        assert await asyncio.to_thread(page.run, "window.heard === undefined") is True
    assert asked == []


async def test_a_hostile_message_of_any_channel_acts_neither_on_the_page_nor_on_its_refresh(
    console: Console, page: Page
) -> None:
    asked: list[str] = []

    def note(request: Received) -> Reply:
        asked.append(request.path)
        return Reply(200, b"", {"access-control-allow-origin": "*"})

    with small_server(note) as outside:
        html = HOSTILE.replace("OUT", outside)
        deep: Any = "x"
        for _ in range(200):
            deep = {"deep": deep}

        async def send(prefix: str) -> None:
            await console.inbox.deliver(
                [
                    Delivery(
                        f"{prefix}-{channel}",
                        html,
                        subject=f'</title>"><img src=x onerror=\'fetch("{outside}/subject")\'>{html}',
                        body=html,
                        channel=channel,
                        data={
                            "type": html,
                            "token": html,
                            "image": f"x\" onerror=\"fetch('{outside}/image')",
                            "image_url": "javascript:fetch('x')",
                            html: html,
                            "deep": deep,
                        },
                        badge=3,
                    )
                    for channel in ("email", "sms", "whatsapp", "push", "in_app")
                ]
            )

        await send("first")
        await asyncio.to_thread(page.open, f"{console.url}/studio/inbox")
        assert (
            await asyncio.to_thread(page.run, "document.querySelectorAll('#messages > article').length") == 5
        )
        await send("second")
        await until(page, "document.querySelectorAll('#messages > article').length === 10")
        shown = "[...document.querySelectorAll('article *')].map((one) => one.localName)"
        names = set(await asyncio.to_thread(page.run, f"[...new Set({shown})]"))
        assert not names & {"script", "svg", "form", "object", "embed", "style", "base", "meta", "a"}
        assert await asyncio.to_thread(page.run, "document.querySelectorAll('[onerror]').length") == 0
        await asyncio.to_thread(page.open, f"{console.url}/studio/inbox")
    assert asked == []


async def test_new_messages_come_by_themselves_and_nothing_that_is_open_closes(
    console: Console, page: Page
) -> None:
    await console.inbox.deliver(
        [Delivery("d-1", "+4917012345678", body="first", data={"a": 1}, channel="sms")]
    )
    await asyncio.to_thread(page.open, f"{console.url}/studio/inbox")
    await asyncio.to_thread(page.run, "document.querySelector('details').open = true")
    await console.inbox.deliver([Delivery("d-2", "ada@example.com", html="<b>second</b>", channel="email")])
    await until(page, "document.querySelectorAll('#messages > article').length === 2")
    assert await asyncio.to_thread(page.run, "document.querySelector('article').className") == "email"
    assert await asyncio.to_thread(page.run, "document.querySelectorAll('details[open]').length") == 1


async def test_the_console_loads_nothing_from_elsewhere(console: Console) -> None:
    answer: httpx2.Response = await console.browser.get("/inbox")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    links = re.findall(r'(?:href|src|action)="([^"]+)"', answer.text)
    assert all(urlsplit(link).netloc == "" for link in links)
