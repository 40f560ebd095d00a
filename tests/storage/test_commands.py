"""`basalt storage collect` and `check`, over a running project."""

import json
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest
from typer.testing import CliRunner

from basalt.cli.main import app
from tests.server import Server
from tests.storage.conftest import MakeBucket, stored_files

pytestmark = pytest.mark.req("P8")


def run(server: Server, *command: str) -> tuple[int, str]:
    """Exit code and standard output of `basalt storage COMMAND DIR`."""
    arguments = ["storage", command[0], str(server.project_dir), *command[1:]]
    done = CliRunner().invoke(app, arguments, env=dict(server.environ))
    return done.exit_code, done.stdout


def run_json(server: Server, *command: str) -> tuple[int, Any]:
    code, text = run(server, *command, "--json")
    return code, json.loads(text)


def test_check_and_collect_tell_what_is_wrong_and_take_away_what_nobody_needs(
    depot: Server, admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    run(depot, "collect", "--age", "0")  # what other tests have left
    bucket = make_bucket()
    for name in ("kept", "deleted", "broken"):
        admin.post(f"/object/{bucket}/{name}", content=b"hello").raise_for_status()
    found = rows.execute("select name, version from storage.objects where bucket_id = %s", [bucket])
    versions = dict(found.fetchall())
    admin.delete(f"/object/{bucket}/deleted").raise_for_status()
    objects = depot.project_dir / ".basalt" / "storage" / "objects"
    orphan = str(uuid4())
    (objects / orphan[:2]).mkdir(exist_ok=True)
    (objects / orphan[:2] / orphan).write_bytes(b"x")
    (objects / versions["broken"][:2] / versions["broken"]).write_bytes(b"hellO")

    code, report = run_json(depot, "check")
    mine = {orphan, *versions.values()}
    assert code == 1
    assert [one["version"] for one in report["differences"] if one["version"] in mine] == [orphan]
    code, text = run(depot, "check", "--checksums")
    assert code == 1
    assert f"checksum differs: {bucket}/broken {versions['broken']}" in text
    assert f"row missing: no object {orphan}" in text

    before = stored_files(depot)
    assert run_json(depot, "collect", "--age", "0", "--dry-run") == (
        0,
        {"dry_run": True, "deleted": 1, "expired_uploads": 0, "orphans": 1, "abandoned_uploads": 0},
    )
    assert stored_files(depot) == before
    assert run_json(depot, "collect")[1]["deleted"] == 0  # not as old as the settings say
    code, text = run(depot, "collect", "--age", "0")
    assert "Bytes of deleted and replaced objects: 2 taken away." in text
    assert stored_files(depot) == before - {versions["deleted"], orphan}

    admin.delete(f"/object/{bucket}/broken").raise_for_status()
    code, text = run(depot, "check", "--checksums")
    assert not any(version in text for version in mine)
    assert code == int(" 0 differences." not in text)


def test_an_upload_that_is_refused_after_its_permit_leaves_no_trace(
    depot: Server, admin: httpx2.Client, make_bucket: MakeBucket, rows: psycopg.Connection
) -> None:
    """The policies are asked by writing the row and taking that back: the object that is there stays in use."""
    bucket = make_bucket(file_size_limit=10)
    admin.post(f"/object/{bucket}/file", content=b"hello").raise_for_status()
    query = "select version from storage.objects where bucket_id = %s"
    before, files = rows.execute(query, [bucket]).fetchall(), stored_files(depot)
    refused = admin.put(f"/object/{bucket}/file", content=iter([b"too ", b"large", b" at last"]))
    assert refused.json()["code"] == "EntityTooLarge"
    assert rows.execute(query, [bucket]).fetchall() == before
    noted = {version for (version,) in rows.execute("select version from basalt.storage_garbage")}
    assert noted.isdisjoint({before[0][0]})
    assert stored_files(depot) == files
    assert admin.get(f"/object/{bucket}/file").content == b"hello"
