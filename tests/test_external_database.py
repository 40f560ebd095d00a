"""`DATABASE_URL`: a project on a PostgreSQL that is not Basalt's own, whose owner is no superuser."""

from pathlib import Path

import pytest

from tests.faults.conftest import make_project
from tests.postgres.test_bootstrap import managed_url  # noqa: F401  a fixture
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
