"""New passwords: breach lists and the rules as one answer. Stored ones: every kind of hash, and which are made anew."""

import asyncio
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from argon2 import PasswordHasher as Argon2

from basalt.auth.bloom import HEADER, BloomFile, build_bloom_file, digest_of_line
from basalt.auth.breached import BreachApi, BreachListError, open_breach_list
from basalt.auth.passwords import PasswordHasher, is_known_hash
from basalt.config import BreachedPasswordSettings, ConfigError
from basalt.http import OutgoingClient
from tests.auth.conftest import PASSWORD, AuthClient, StartAuth
from tests.fakes.pwned import PwnedPasswords, pwned_passwords
from tests.fakes.small_server import Reply

pytestmark = pytest.mark.req("P6")

GRANT = "/token?grant_type=password"
KNOWN = "password1"
PWNED = "Password is known to be weak and easy to guess, please choose a different one."
# What firebase/scrypt's README prints for its example: the password is `user1password`.
FIREBASE_KEY = "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA=="
FIREBASE = (
    f"$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk={FIREBASE_KEY}$42xEC+ixf3L2lw=="
    "$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=="
)


@pytest.fixture
def pwned() -> Iterator[tuple[PwnedPasswords, BreachedPasswordSettings]]:
    """The list's service, and the settings that lead to it."""
    service = PwnedPasswords({KNOWN, "short"}, padding={"only padding"})
    with pwned_passwords(service) as url:
        yield service, BreachedPasswordSettings(enabled=True, url=url, timeout_s=1.0)


def count_nothing(done: int, entries: int) -> None:
    pass


# --- breach lists


async def test_a_breached_password_is_refused_wherever_one_is_chosen(
    start_auth: StartAuth, pwned: tuple[PwnedPasswords, BreachedPasswordSettings]
) -> None:
    service, settings = pwned
    auth = await start_auth(breached_passwords=settings)
    user = await auth.a_user()
    token = (await auth.sign_in())["access_token"]
    refused = [
        await auth.post("/signup", {"email": "new@example.com", "password": KNOWN}),
        await auth.send("PUT", "/user", {"password": KNOWN}, token=token),
        await auth.admin("PUT", f"/admin/users/{user['id']}", {"password": KNOWN}),
        await auth.admin(
            "POST",
            "/admin/generate_link",
            {"type": "signup", "email": "new@example.com", "password": KNOWN},
        ),
    ]
    for answer in refused:
        assert answer.error == (422, "weak_password")
        assert answer.json["msg"] == PWNED
        assert answer.json["weak_password"] == {"reasons": ["pwned"]}
    assert await auth.sign_in()
    assert "/range/E38AD" in service.asked  # the first digits of SHA-1("password1") and no more
    assert {len(path) for path in service.asked} == {len("/range/") + 5}
    assert (await auth.post("/signup", {"email": "new@example.com", "password": PASSWORD})).status == 200
    padded = await auth.post("/signup", {"email": "pad@example.com", "password": "only padding"})
    assert padded.status == 200


async def test_every_rule_that_is_broken_is_named(
    start_auth: StartAuth, pwned: tuple[PwnedPasswords, BreachedPasswordSettings]
) -> None:
    auth = await start_auth(
        breached_passwords=pwned[1], minimum_password_length=8, password_requirements="letters_digits"
    )
    answer = await auth.post("/signup", {"email": "new@example.com", "password": "short"})
    assert answer.error == (422, "weak_password")
    assert answer.json["weak_password"]["reasons"] == ["length", "characters", "pwned"]
    assert answer.json["msg"].startswith("Password should be at least 8 characters. Password should contain")
    assert answer.json["msg"].endswith(PWNED)


async def test_who_has_a_breached_password_signs_in_and_is_told(
    start_auth: StartAuth, pwned: tuple[PwnedPasswords, BreachedPasswordSettings]
) -> None:
    auth = await start_auth(breached_passwords=pwned[1])
    await auth.a_user(password=KNOWN)
    session = await auth.sign_in(password=KNOWN)
    assert session["weak_password"] == {"message": PWNED, "reasons": ["pwned"]}


@pytest.mark.parametrize("fail_closed", [False, True])
async def test_a_list_that_cannot_be_asked(
    start_auth: StartAuth,
    pwned: tuple[PwnedPasswords, BreachedPasswordSettings],
    capsys: pytest.CaptureFixture[str],
    *,
    fail_closed: bool,
) -> None:
    service, settings = pwned
    service.reply = Reply(503)
    auth = await start_auth(breached_passwords=replace(settings, fail_closed=fail_closed))
    answer = await auth.post("/signup", {"email": "new@example.com", "password": KNOWN})
    assert answer.status == (500 if fail_closed else 200)
    if fail_closed:
        assert answer.error == (500, "unexpected_failure")
    assert "breach_list_unavailable" in capsys.readouterr().err
    await auth.a_user()
    assert "weak_password" not in await auth.sign_in()  # signing in does not depend on it


async def test_the_services_failures_are_told_apart_from_its_answers() -> None:
    http = OutgoingClient()
    service = PwnedPasswords({KNOWN})
    with pwned_passwords(service) as url:
        api = BreachApi(url, http, timeout_s=1.0)
        assert await api.has(KNOWN)
        assert not await api.has(PASSWORD)
        for reply in (Reply(404), Reply(200, b"A" * (600 * 1024))):
            service.reply = reply
            with pytest.raises(BreachListError):
                await api.has(KNOWN)
    with pytest.raises(BreachListError):
        await api.has(KNOWN)
    await http.close()


def test_a_file_finds_all_that_it_was_made_of_and_hardly_more(tmp_path: Path) -> None:
    source, target = tmp_path / "list.txt", tmp_path / "list.bloom"
    words = [f"word {number}" for number in range(20_000)]
    lines = [
        f"{digest_of_line(word.encode()).hex().upper()}:{number}" if number % 2 else word
        for number, word in enumerate(words)
    ]
    source.write_text("\r\n".join(lines) + "\n\n")
    reported: list[tuple[int, int]] = []
    assert build_bloom_file(source, target, lambda *done: reported.append(done)) == 20_000
    assert reported == [(20_000, 20_000)]
    bloom = BloomFile(target)
    assert all(digest_of_line(word.encode()) in bloom for word in words)
    others = sum(digest_of_line(f"other {number}".encode()) in bloom for number in range(20_000))
    assert others < 60  # one in a thousand is 20
    assert target.stat().st_size < 20_000 * 14.4 / 8 + 100
    bloom.close()
    assert list(tmp_path.iterdir()) == [source, target] or set(tmp_path.iterdir()) == {source, target}


@pytest.mark.long
def test_making_a_file_keeps_nothing_of_the_list_in_memory(tmp_path: Path) -> None:
    source = tmp_path / "list.txt"
    source.write_text("".join(f"{number:040X}:1\n" for number in range(60_000)))  # 2.6 MB
    tracemalloc.start()
    build_bloom_file(source, tmp_path / "list.bloom", count_nothing)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000  # most of it is the read buffer


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"NOTOURS!" + bytes(24),
        HEADER.pack(b"BASALTPW", 2, 10, 64, 1) + bytes(8),
        HEADER.pack(b"BASALTPW", 1, 10, 64, 1) + bytes(7),
        HEADER.pack(b"BASALTPW", 1, 0, 64, 1) + bytes(8),
        HEADER.pack(b"BASALTPW", 1, 1000, 64, 1) + bytes(8),
        HEADER.pack(b"BASALTPW", 1, 10, 0, 1),
        None,
    ],
)
async def test_a_file_of_another_kind_prevents_the_start(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "wrong.bloom").write_bytes(content)
    settings = BreachedPasswordSettings(enabled=True, file="wrong.bloom")
    with pytest.raises(ConfigError, match="list of breached passwords cannot be read"):
        open_breach_list(settings, tmp_path, OutgoingClient())


async def test_the_command_makes_the_file_that_the_service_reads(
    start_auth: StartAuth, base_settings: Any
) -> None:
    folder = base_settings.project_dir / "supabase"
    (folder / "list.txt").write_text(f"{KNOWN}\nqwerty\n")
    made = run_command(str(folder / "list.txt"), "--out", str(folder / "breached.bloom"))
    assert made.returncode == 0, made.stderr
    assert "2 passwords" in made.stdout
    auth = await start_auth(
        breached_passwords=BreachedPasswordSettings(
            enabled=True, file="breached.bloom", url="http://127.0.0.1:9/"
        )
    )
    answer = await auth.post("/signup", {"email": "new@example.com", "password": KNOWN})
    assert answer.json["weak_password"]["reasons"] == ["pwned"]
    assert (await auth.post("/signup", {"email": "new@example.com", "password": PASSWORD})).status == 200


def test_the_command_tells_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    for source in ("empty.txt", "missing.txt"):
        failed = run_command(str(tmp_path / source), "--out", str(tmp_path / "out"))
        assert failed.returncode == 1
        assert "The file cannot be made" in failed.stderr
        assert not (tmp_path / "out").exists()


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from basalt.cli import main; main()", "auth", "breached-passwords"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=60)


# --- stored hashes


@pytest.mark.parametrize(
    ("stored", "password"),
    [
        (FIREBASE, "user1password"),
        (Argon2(time_cost=2, memory_cost=16, parallelism=1).hash("test"), "test"),
        (
            "$argon2id$v=19$m=32,t=3,p=2$SFVpOWJ0eXhjRzVkdGN1RQ$RXnb8rh7LaDcn07xsssqqulZYXOM/EUCEFMVcAcyYVk",
            "test",
        ),
        ("$argon2i$v=19$m=16,t=2,p=1$bGJRWThNOHJJTVBSdHl2dQ$NfEnUOuUpb7F2fQkgFUG4g", "test"),
        ("$2y$10$srNl09aPtc2qr.0Vl.NtjekJRt/NxRxYQm3qd3OvfcKsJgVnr6.Ve", "test"),
    ],
    ids=["firebase", "argon2id", "argon2id-2", "argon2i", "bcrypt"],
)
async def test_hashes_of_other_systems_verify(stored: str, password: str) -> None:
    hasher = PasswordHasher(rounds=4)
    assert is_known_hash(stored)
    assert await hasher.verify(password, stored)
    assert not await hasher.verify(password + "1", stored)
    hasher.close()


ARGON2 = "$argon2id$v=19$m=16,t=2,p=1$bGJRWThNOHJJTVBSdHl2dQ$NfEnUOuUpb7F2fQkgFUG4g"


BAD_HASHES = [
    FIREBASE.replace("v=1", "v=2"),
    FIREBASE.replace("n=14", "n=4294967297"),
    FIREBASE.replace("n=14", "n=0"),
    FIREBASE.replace("n=14", "n=24"),  # 16 GiB
    FIREBASE.replace("r=8", "r=0"),
    FIREBASE.replace("r=8", "r=18446744073709551617"),
    FIREBASE.replace("p=1", "p=0"),
    FIREBASE.replace("p=1", "p=256"),
    FIREBASE.replace(FIREBASE_KEY, "!!!"),
    FIREBASE.replace(f",sk={FIREBASE_KEY}", ""),
    FIREBASE.replace("Bw==", "!!!"),
    FIREBASE.replace("42xEC+ixf3L2lw==", "!!!"),
    FIREBASE.rpartition("$")[0] + "$!!!",
    ARGON2.replace("argon2id", "argon2d"),
    ARGON2.replace("v=19", "v=16"),
    ARGON2.replace("p=1", "p=1,data=abc"),
    ARGON2.replace("p=1", "p=1,keyid=abc"),
    ARGON2.replace("m=16", "m=1048577"),
    ARGON2.replace("t=2", "t=21"),
    ARGON2.replace("p=1", "p=17"),
    ARGON2.replace("bGJRWThNOHJJTVBSdHl2dQ", "!!!"),
    "$2b$16$srNl09aPtc2qr.0Vl.NtjekJRt/NxRxYQm3qd3OvfcKsJgVnr6.Ve",
    "$2b$10$srNl09aPtc2qr.0Vl",
    "$5$rounds=5000$salt$hash",
    "not-a-hash",
]


async def test_hashes_that_cost_too_much_or_make_no_sense_do_not(auth: AuthClient) -> None:
    for stored in BAD_HASHES:
        body = {"email": "import@example.com", "password_hash": stored[:255]}
        refused = await auth.admin("POST", "/admin/users", body)
        assert refused.error == (400, "validation_failed"), stored
        started = time.monotonic()
        assert not await auth.service._passwords.verify("test", stored)
        assert not await auth.service._passwords.verify("user1password", stored)
        assert time.monotonic() - started < 1, stored


async def test_a_firebase_user_signs_in_and_has_our_hash_afterwards(auth: AuthClient) -> None:
    made = await auth.admin(
        "POST",
        "/admin/users",
        {"email": "fire@example.com", "password_hash": FIREBASE, "email_confirm": True},
    )
    assert made.status == 200, made.body
    wrong = await auth.post(GRANT, {"email": "fire@example.com", "password": "user1passwore"})
    assert wrong.error == (400, "invalid_credentials")
    assert stored_hash(auth) == FIREBASE
    await auth.sign_in("fire@example.com", "user1password")
    assert stored_hash(auth).startswith("$2b$04$")
    await auth.sign_in("fire@example.com", "user1password")


def stored_hash(auth: AuthClient) -> str:
    stored: str = auth.rows("select encrypted_password from auth.users")[0]["encrypted_password"]
    return stored


def test_hashes_of_another_cost_are_outdated_and_good_argon2_is_not() -> None:
    hasher = PasswordHasher(rounds=5)
    password = "correct horse battery"

    def made_with(rounds: int) -> str:
        return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds)).decode()

    assert not hasher.is_outdated(password, made_with(5))
    assert hasher.is_outdated(password, made_with(4))
    assert hasher.is_outdated(password, made_with(6))
    assert hasher.is_outdated(password, FIREBASE)
    assert not hasher.is_outdated(password, Argon2().hash(password))
    assert hasher.is_outdated(password, ARGON2)
    assert not hasher.is_outdated("é" * 37, FIREBASE)  # more than bcrypt could hold
    hasher.close()


async def test_a_password_that_was_changed_meanwhile_stays_changed(start_auth: StartAuth) -> None:
    auth = await start_auth()
    dear = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(5)).decode()
    await auth.a_user(password=None, password_hash=dear)
    hash_password = auth.service._passwords.hash

    async def change_then_hash(password: str) -> str:
        auth.rows("update auth.users set encrypted_password = 'changed'")
        return await hash_password(password)

    auth.service._passwords.hash = change_then_hash  # type: ignore[method-assign]
    await auth.sign_in()
    assert stored_hash(auth) == "changed"


async def test_other_requests_stay_quick_while_many_sign_in(start_auth: StartAuth) -> None:
    auth = await start_auth()
    auth.service._passwords._rounds = 10
    dear = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    for number in range(8):
        await auth.a_user(f"user{number}@example.com", password=None, password_hash=dear)
    storm = [
        asyncio.create_task(auth.post(GRANT, {"email": f"user{n % 8}@example.com", "password": "wrong"}))
        for n in range(40)
    ]
    await asyncio.sleep(0)
    times = []
    while not all(task.done() for task in storm):
        started = time.perf_counter()
        assert (await auth.get("/settings")).status == 200
        times.append(time.perf_counter() - started)
        await asyncio.sleep(0.01)
    assert {(await task).status for task in storm} == {400}
    assert len(times) > 10
    assert sorted(times)[len(times) // 2] < 0.05
