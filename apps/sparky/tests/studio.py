"""Somebody who has photos made: a signed-in client, its uploads, the two functions, and what the owner sees of it."""

import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import httpx
import httpx2
import jwt
from PIL import Image
from supabase import Client, ClientOptions, create_client

from tests.server import Server

from .conftest import owner
from .pictures import a_photo

Answer = dict[str, Any]


@dataclass(frozen=True)
class Sitter:
    """`call` gives the raw answer of a function; `make` and `analyse` one that succeeded."""

    server: Server
    client: Client
    id: str
    token: str

    def upload(self, raw: bytes | None = None, content_type: str = "image/jpeg") -> str:
        """The path of a picture of its own in user_uploads; by default one that nobody else has."""
        path = f"{self.id}/{secrets.token_hex(6)}"
        body = a_photo(secrets.randbelow(60000)) if raw is None else raw
        self.client.storage.from_("user_uploads").upload(path, body, {"content-type": content_type})
        return path

    def call(self, function: str, body: Answer, *, timeout_s: float = 60) -> httpx2.Response:
        with self.server.client(token=self.token) as http:
            return http.post(f"/functions/v1/{function}", json=body, timeout=timeout_s)

    def ask(
        self, tool: str, path: str, function: str = "process-image", **parameters: Any
    ) -> httpx2.Response:
        return self.call(
            function, {"toolId": tool, "toolParameters": parameters, "originalImageStoragePath": path}
        )

    def make(self, tool: str, path: str, **parameters: Any) -> Answer:
        return succeeded(self.ask(tool, path, **parameters))

    def analyse(self, tool: str, path: str, **parameters: Any) -> Answer:
        return succeeded(self.ask(tool, path, "analyze-face", **parameters))

    def credits(self) -> int:
        """The balance; the log adds up to it."""
        with owner(self.server) as admin:
            row = admin.execute(
                """
                select u.credits, (
                    select coalesce(sum(l.credits), 0) from public.credit_log as l where l.user_id = u.id
                ) as logged
                from public.users as u where u.id = %s
                """,
                [self.id],
            ).fetchone()
        assert row is not None
        assert row["credits"] == row["logged"] >= 0
        return int(row["credits"])

    def set_credits(self, wanted: int) -> None:
        with owner(self.server) as admin:
            change = wanted - self.credits()
            if change:
                admin.execute("select public.adjust_credits(%s, %s)", [self.id, change])

    def files(self) -> list[str]:
        """What lies in its folder of the bucket generations."""
        with owner(self.server) as admin:
            rows = admin.execute(
                "select name from storage.objects where bucket_id = 'generations' and name like %s order by name",
                [f"{self.id}/%"],
            ).fetchall()
        return [row["name"] for row in rows]

    def gallery(self) -> list[Answer]:
        with owner(self.server) as admin:
            return admin.execute(
                "select * from public.generations where user_id = %s order by created_at", [self.id]
            ).fetchall()

    def running(self) -> int:
        """Leases of its runs under way."""
        with owner(self.server) as admin:
            row = admin.execute(
                "select count(*) from private.leases where user_id = %s and state = 'running'", [self.id]
            ).fetchone()
        assert row is not None
        return int(row["count"])

    def expire_leases(self) -> None:
        with owner(self.server) as admin:
            admin.execute(
                "update private.leases set lease_until = now() - interval '1 second' where user_id = %s",
                [self.id],
            )


def succeeded(answer: httpx2.Response) -> Answer:
    assert answer.status_code == 200, answer.text
    told: Answer = answer.json()
    return told


def code_of(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def fetch_image(url: str) -> Image.Image:
    """A public address, asked without any key."""
    answer = httpx2.get(url, verify=False)
    assert answer.status_code == 200
    with Image.open(BytesIO(answer.content)) as opened:
        opened.load()
        return opened


def signed_in(server: Server, client: Client) -> Sitter:
    """Whoever the client is signed in as."""
    session = client.auth.get_session()
    assert session is not None
    return Sitter(server, client, session.user.id, session.access_token)


@contextmanager
def a_sitter(server: Server) -> Iterator[Sitter]:
    """Somebody new, with a token as Auth makes it; hashing passwords would be most of these tests' time."""
    user_id = str(uuid.uuid4())
    with owner(server) as admin:
        admin.execute(
            "insert into auth.users (id, aud, role, email) values (%s, 'authenticated', 'authenticated', %s)",
            [user_id, f"{user_id}@example.com"],
        )
    claims = {"sub": user_id, "role": "authenticated", "aud": "authenticated", "exp": time.time() + 3600}
    token = jwt.encode({**claims, "session_id": str(uuid.uuid4())}, server.jwt_secret, "HS256")
    with httpx.Client(timeout=30, verify=False) as http:
        options = ClientOptions(
            auto_refresh_token=False,
            persist_session=False,
            httpx_client=http,
            headers={"Authorization": f"Bearer {token}"},
        )
        yield Sitter(server, create_client(server.url, server.anon_key, options), user_id, token)


def wait_for(condition: Callable[[], Any], limit_s: float = 20) -> Any:
    deadline = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value
