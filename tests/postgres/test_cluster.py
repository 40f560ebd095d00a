"""What a private cluster may meet when it starts, each in a folder of its own."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from basalt.postgres import (
    BOOTSTRAP_DIR,
    ClusterError,
    DatabaseAccess,
    PrivateCluster,
    apply_bootstrap,
    find_postgres,
    load_access,
)
from basalt.postgres.postmaster import read_postmaster

pytestmark = pytest.mark.req("P1")

OpenCluster = Callable[[], PrivateCluster]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def project() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="basalt-cluster-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def open_cluster(project: Path) -> Iterator[OpenCluster]:
    """Each call is a new supervisor's view of the same project."""
    port = free_port()
    opened: list[PrivateCluster] = []

    def run() -> PrivateCluster:
        opened.append(PrivateCluster(project / ".basalt", port=port, fsync=False))
        return opened[-1]

    yield run
    for cluster in opened:
        cluster.stop()


def ask(access: DatabaseAccess, question: str, role: str = "supabase_admin") -> object:
    with psycopg.connect(access.conninfo(role)) as connection:
        row = connection.execute(question.encode()).fetchone()
        assert row is not None
        return row[0]


def pid_of(cluster: PrivateCluster) -> int:
    running = read_postmaster(cluster.data_dir)
    assert running is not None
    return running.pid


def test_a_second_start_keeps_the_data(open_cluster: OpenCluster) -> None:
    cluster = open_cluster()
    access = cluster.ensure()
    with psycopg.connect(access.conninfo("supabase_admin")) as connection:
        connection.execute("create table public.kept as select 7 as answer")
    cluster.stop()
    assert not cluster.is_running()
    started = time.monotonic()
    assert ask(open_cluster().ensure(), "select answer from public.kept") == 7
    assert time.monotonic() - started < 3


def test_the_server_is_what_the_contract_needs(cluster_access: DatabaseAccess) -> None:
    access = cluster_access
    assert ask(access, "show wal_level") == "logical"
    assert ask(access, "show server_encoding") == "UTF8"
    assert ask(access, "show listen_addresses") == "127.0.0.1"
    assert ask(access, "show password_encryption") == "scram-sha-256"


def test_statements_are_compiled_only_where_the_project_says_so(cluster_access: DatabaseAccess) -> None:
    assert ask(cluster_access, "show jit") == "off"
    with psycopg.connect(cluster_access.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("alter database postgres set jit = on")
        try:
            assert ask(cluster_access, "show jit") == "on"
        finally:
            connection.execute("alter database postgres reset jit")


@pytest.mark.parametrize("host", ["socket", "tcp"])
def test_every_door_asks_for_the_password(cluster_access: DatabaseAccess, host: str) -> None:
    access = cluster_access
    folder = access.socket_dir if host == "socket" else access.host
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(
            host=folder, port=access.port, user="supabase_admin", dbname="postgres", password="wrong"
        )


def test_passwords_are_kept_where_only_their_owner_reads(cluster: PrivateCluster) -> None:
    access = cluster.ensure()
    path = cluster.state_dir / "database.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(set(json.loads(path.read_text())["passwords"].values())) == len(access.passwords)
    assert load_access(cluster.state_dir) == access
    assert access.passwords["postgres"] not in repr(access)


def test_a_server_left_behind_by_a_killed_supervisor_is_adopted(open_cluster: OpenCluster) -> None:
    first = open_cluster()
    first.ensure()
    second = open_cluster()
    second.ensure()
    assert pid_of(second) == pid_of(first)
    second.stop()
    assert not first.is_running()


@pytest.mark.long
def test_a_server_left_behind_on_another_port_is_restarted(open_cluster: OpenCluster, project: Path) -> None:
    old = open_cluster()
    old.ensure()
    moved = PrivateCluster(project / ".basalt", port=free_port(), fsync=False)
    access = moved.ensure()
    assert ask(access, "select inet_server_port() is null") is True  # through the socket
    assert int(str(ask(access, "show port"))) == moved.port
    moved.stop()


def test_a_killed_server_starts_again_with_what_was_committed(open_cluster: OpenCluster) -> None:
    cluster = open_cluster()
    access = cluster.ensure()
    with psycopg.connect(access.conninfo("supabase_admin")) as connection:
        connection.execute("create table public.kept as select 7 as answer")
    with psycopg.connect(access.conninfo("supabase_admin")):  # its process outlives the server for a moment
        os.kill(pid_of(cluster), signal.SIGKILL)
        assert ask(open_cluster().ensure(), "select answer from public.kept") == 7


@pytest.mark.long
def test_a_stale_pid_file_with_the_number_of_another_program_is_no_obstacle(
    open_cluster: OpenCluster,
) -> None:
    cluster = open_cluster()
    cluster.ensure()
    kept = (cluster.data_dir / "postmaster.pid").read_text()
    cluster.stop()
    stranger = subprocess.Popen(["sleep", "60"], **({"user": "postgres"} if os.geteuid() == 0 else {}))
    try:
        lines = kept.splitlines()
        (cluster.data_dir / "postmaster.pid").write_text("\n".join([str(stranger.pid), *lines[1:], ""]))
        assert not cluster.is_running()
        assert ask(open_cluster().ensure(), "select 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_busy_port_is_one_clear_sentence(project: Path) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        with pytest.raises(ClusterError, match=f"^Port {port} is in use by another program"):
            PrivateCluster(project / ".basalt", port=port, fsync=False).ensure()


def test_data_of_another_major_version_is_refused_before_anything_is_touched(
    open_cluster: OpenCluster,
) -> None:
    cluster = open_cluster()
    cluster.ensure()
    cluster.stop()
    (cluster.data_dir / "PG_VERSION").write_text("12\n")
    installed = find_postgres().major
    with pytest.raises(
        ClusterError, match=f"made by PostgreSQL 12, but this machine has PostgreSQL {installed}"
    ):
        cluster.ensure()


def test_a_folder_of_another_program_is_refused(project: Path) -> None:
    data_dir = project / ".basalt" / "postgres" / "data"
    data_dir.mkdir(parents=True)
    (data_dir / "notes.txt").write_text("mine")
    cluster = PrivateCluster(project / ".basalt", port=free_port(), fsync=False)
    with pytest.raises(ClusterError, match="no PostgreSQL data directory"):
        cluster.ensure()
    (data_dir / "PG_VERSION").write_text(f"{find_postgres().major}\n")
    with pytest.raises(ClusterError, match="made by another program"):
        cluster.ensure()
    assert (data_dir / "notes.txt").read_text() == "mine"


@pytest.mark.long
def test_a_broken_configuration_is_told_with_the_servers_own_reason(open_cluster: OpenCluster) -> None:
    cluster = open_cluster()
    cluster.ensure()
    cluster.stop()
    with (cluster.data_dir / "postgresql.conf").open("a") as file:
        file.write("\nshared_buffers = 'many'\n")
    with pytest.raises(
        ClusterError, match=r"PostgreSQL did not start: .*(shared_buffers|configuration file)"
    ):
        open_cluster().ensure()


def test_an_interrupted_first_start_is_begun_anew(open_cluster: OpenCluster, project: Path) -> None:
    half = project / ".basalt" / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("15\n")
    assert ask(open_cluster().ensure(), "select 1") == 1
    assert not half.exists()


def test_lost_passwords_are_set_anew(open_cluster: OpenCluster, project: Path) -> None:
    cluster = open_cluster()
    cluster.ensure()
    cluster.stop()
    (project / ".basalt" / "database.json").unlink()
    assert ask(open_cluster().ensure(), "select current_user") == "supabase_admin"


def test_a_long_path_does_not_stop_the_socket(project: Path) -> None:
    deep = project / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    cluster = PrivateCluster(deep / ".basalt", port=free_port(), fsync=False)
    access = cluster.ensure()
    try:
        assert ask(access, "select 1") == 1
    finally:
        cluster.stop()
        assert access.socket_dir is not None
        shutil.rmtree(access.socket_dir)


@pytest.mark.long
def test_the_first_start_with_fsync_takes_seconds(project: Path) -> None:
    started = time.monotonic()
    cluster = PrivateCluster(project / ".basalt", port=free_port())
    cluster.ensure()
    assert time.monotonic() - started < 8
    cluster.stop()


def others_may_read(folder: Path) -> bool:
    """Whether every folder down to this one is open to everybody: a checkout below /root is not."""
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in (folder, *folder.parents))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")
class TestRoot:
    def test_the_server_does_not_run_as_root(self, cluster: PrivateCluster) -> None:
        assert Path(f"/proc/{pid_of(cluster)}").stat().st_uid != 0

    def test_a_project_that_the_server_cannot_reach_keeps_its_data_elsewhere(self, project: Path) -> None:
        project.chmod(0o700)
        cluster = PrivateCluster(project / ".basalt", port=free_port(), fsync=False)
        try:
            assert ask(cluster.ensure(), "select 1") == 1
            assert cluster.home.parent == Path("/var/lib/basalt")
            assert cluster.home.name.startswith(project.name)
            cluster.stop()
            again = PrivateCluster(project / ".basalt", port=cluster.port, fsync=False)
            assert again.home == cluster.home
        finally:
            cluster.stop()
            shutil.rmtree(cluster.home)

    @pytest.mark.skipif(not others_may_read(BOOTSTRAP_DIR), reason="this checkout is closed to other users")
    def test_a_plain_user_needs_no_rights(self, project: Path) -> None:
        """The same as somebody who is not root: first start, second start, stop."""
        shutil.chown(project, "nobody")
        port = free_port()

        def start_twice() -> str:
            for _ in range(2):
                cluster = PrivateCluster(project / ".basalt", port=port, fsync=False)
                applied = apply_bootstrap(cluster.ensure()).applied
                cluster.stop()
            return f"{len(applied)} {cluster.state_dir.stat().st_mode & 0o777:o}"

        assert as_nobody(start_twice) == "0 700"

    def test_a_read_only_folder_is_one_clear_sentence(self, project: Path) -> None:
        shutil.chown(project, "nobody")
        project.chmod(0o555)

        def start() -> str:
            with pytest.raises(ClusterError) as caught:
                PrivateCluster(project / ".basalt", port=1, fsync=False).ensure()
            return caught.value.message

        assert as_nobody(start).startswith(f"{project / '.basalt'} cannot be written to (Permission denied)")


def as_nobody(work: Callable[[], str]) -> str:
    """What `work` returns in a process of user `nobody`. A fork: that user may not reach Python."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            entry = pwd.getpwnam("nobody")
            os.setgroups([])
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
            os.write(writer, work().encode())
        except BaseException as exc:
            os.write(writer, repr(exc).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer
