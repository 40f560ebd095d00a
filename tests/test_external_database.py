"""`DATABASE_URL`: a project on a PostgreSQL that is not Basalt's own, whose owner is no superuser."""

from pathlib import Path

import pytest

from tests.faults.conftest import make_project
from tests.postgres.test_bootstrap import managed_url  # noqa: F401  a fixture
from tests.realtime.phoenix import open_phoenix
from tests.server import running_server


@pytest.mark.req("P2")
def test_a_project_runs_on_a_managed_database(managed_url: str, tmp_path: Path) -> None:  # noqa: F811
    with running_server(make_project(tmp_path / "project"), DATABASE_URL=managed_url) as server:
        with server.client() as client:
            films = client.get("/rest/v1/films?select=title&order=id").json()
            assert [film["title"] for film in films] == ["Metropolis", "Nosferatu"]
            body = {"email": "tenant@example.com", "password": "long enough"}
            token = client.post("/auth/v1/signup", json=body).json()["access_token"]
        with server.client(token=token) as client:
            assert client.post("/rest/v1/secrets", json={"body": "mine"}).status_code == 201
            assert [row["body"] for row in client.get("/rest/v1/secrets").json()] == ["mine"]
            assert client.post("/functions/v1/echo", json={}).status_code == 200
        assert not (server.project_dir / ".basalt" / "postgres").exists()


@pytest.mark.req("P2", "P7")
async def test_realtime_does_what_a_managed_database_allows(managed_url: str, tmp_path: Path) -> None:  # noqa: F811
    """No log can be read there: subscribers are told what to set, and everything else works, private channels too."""
    with running_server(make_project(tmp_path / "project"), DATABASE_URL=managed_url) as server:
        async with open_phoenix(server.url, server.service_role_key) as phx:
            await phx.join("room", {"private": True, "broadcast": {"self": True}})
            await phx.broadcast("realtime:room", "hello", {"n": 1})
            assert (await phx.until("broadcast")).payload["payload"] == {"n": 1}
            await phx.join(
                "films", {"postgres_changes": [{"event": "*", "schema": "public", "table": "films"}]}
            )
            told = await phx.until("system", limit_s=40)
            assert told.payload["status"] == "error"
            assert "let the role replicate: `alter role NAME replication`" in told.payload["message"]
