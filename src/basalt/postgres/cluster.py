"""The private PostgreSQL cluster of a project, below `.basalt/postgres/`.

`PrivateCluster.ensure` makes the cluster if it is new, starts it and waits until it answers; it also comes to
terms with what it may find there: a server left behind by a killed supervisor is adopted, a stale pid file is
ignored, and a busy port, a read-only folder or a foreign data directory each is one sentence.
"""

import os
import re
import socket
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

import psycopg

from basalt.postgres.access import LOGIN_ROLES, DatabaseAccess, load_passwords, read_state, write_state
from basalt.postgres.cluster_error import ClusterError
from basalt.postgres.cluster_folders import (
    ensure_home,
    ensure_run_dir,
    ensure_state_dir,
    lock_start,
    read_home,
    socket_files,
)
from basalt.postgres.initdb import SETTINGS_FILE, SUPERUSER, create_data_dir, flush_data_dir
from basalt.postgres.install import InstallError, PostgresInstall, find_postgres
from basalt.postgres.os_user import ServerUser, server_user
from basalt.postgres.postmaster import POLL_S, disown_pid_file, read_postmaster, stop_postmaster
from basalt.postgres.scram import build_verifier
from basalt.postgres.tree import ensure_tree
from basalt.postgres.vault import ensure_key_file

HOST = "127.0.0.1"
START_LIMIT_S = 60
LOG_LIMIT_BYTES = 10_000_000


class PrivateCluster:
    """One project's server. `fsync=False` is for tests: a crash of the machine may lose everything."""

    def __init__(
        self,
        state_dir: Path,
        *,
        port: int,
        max_connections: int = 100,
        fsync: bool = True,
        wanted_extensions: Collection[str] = (),
    ) -> None:
        self.state_dir = state_dir.resolve()
        self.port = port
        self._max_connections = max_connections
        self._fsync = fsync
        self._wanted_extensions = wanted_extensions
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        """Where data, private tree, sockets and log are: `.basalt/postgres` unless PostgreSQL's user cannot
        get there."""
        return read_home(self.state_dir) or self.state_dir / "postgres"

    @property
    def data_dir(self) -> Path:
        return self.home / "data"

    @property
    def log_file(self) -> Path:
        return self.home / "log" / "postgres.log"

    def ensure(self) -> DatabaseAccess:
        """The cluster exists, runs and answers when this returns."""
        ensure_state_dir(self.state_dir)
        with lock_start(self.state_dir / "cluster.lock"):
            user = server_user()
            home = ensure_home(self.state_dir, user)
            ensure_key_file(home, user)
            passwords = load_passwords(self.state_dir, LOGIN_ROLES)
            install = self._find_install(home / "data")
            server = ensure_tree(install, home / "tree") or install
            run_dir = ensure_run_dir(home, user)
            access = DatabaseAccess(HOST, self.port, "postgres", passwords, socket_dir=str(run_dir))
            settings = self._render_settings(run_dir, server)
            if self._adopt(access, settings):
                return access
            _check_port_free(self.port)
            syncing = None
            if not self.data_dir.exists():
                create_data_dir(install, self.data_dir, user, passwords[SUPERUSER])
                syncing = flush_data_dir(install, self.data_dir, user) if self._fsync else None
            self._write_settings(settings, home, user)
            self._start(server, user)
            if not _answers(access, limit_s=10):
                self._reset_password(passwords[SUPERUSER], server, user)
                self._start(server, user)
            if syncing is not None and syncing.wait(timeout=600) != 0:
                raise ClusterError(f"The new database could not be written to disk below {home}.")
            _remember_address(self.state_dir, access)
        return access

    def stop(self) -> None:
        """Ends the server if it runs; safe to repeat."""
        running = read_postmaster(self.data_dir)
        if running is not None:
            stop_postmaster(running.pid, self.data_dir)
        if self._process is not None:
            self._process.wait(timeout=10)
            self._process = None

    def is_running(self) -> bool:
        self._reap()
        return read_postmaster(self.data_dir) is not None

    def _reap(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            self._process = None

    def _find_install(self, data_dir: Path) -> PostgresInstall:
        """The server to use: an existing data directory decides on the major version."""
        if not data_dir.exists():
            if any(data_dir.parent.glob("data.pg*")):
                raise ClusterError(
                    f"{data_dir} is missing, for an upgrade was interrupted; `basalt upgrade --undo` brings back what "
                    "was there before."
                )
            return find_postgres(self._wanted_extensions)
        try:
            major = int((data_dir / "PG_VERSION").read_text("ascii").strip())
        except (OSError, ValueError) as exc:
            raise ClusterError(f"{data_dir} is no PostgreSQL data directory; move it away.") from exc
        if not (data_dir / SETTINGS_FILE).exists():
            raise ClusterError(
                f"{data_dir} was made by another program than Basalt; move it away and start again, "
                "or set DATABASE_URL to use that server."
            )
        try:
            return find_postgres(major=major)
        except InstallError as exc:
            installed = find_postgres().major
            later = f"; `basalt upgrade` then moves the data to {installed}" if installed > major else ""
            raise ClusterError(
                f"{data_dir} was made by PostgreSQL {major}, but this machine has PostgreSQL {installed}: "
                f"install the other one (apt-get install postgresql-{major}){later}, or move the folder away."
            ) from exc

    def _adopt(self, access: DatabaseAccess, settings: str) -> bool:
        """Takes over a server that already runs as it should; stops one that does not."""
        self._reap()
        running = read_postmaster(self.data_dir)
        if running is None:
            return False
        same = running.port == self.port and (self.data_dir / SETTINGS_FILE).read_text("utf-8") == settings
        if same and _answers(access, limit_s=10):
            return True
        self.stop()
        return False

    def _render_settings(self, run_dir: Path, server: PostgresInstall) -> str:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": str(run_dir),
            "unix_socket_permissions": "0700",
            "max_connections": str(self._max_connections),
            "wal_level": "logical",
            "max_wal_senders": "20",
            "max_replication_slots": "20",
            "max_slot_wal_keep_size": "4GB",
            "password_encryption": "scram-sha-256",
            "search_path": '"$user", public, extensions',
            # Without statistics an embed looks dear enough to be compiled: 1.1 s instead of 0.35 s for 200 rows, and
            # LLVM heeds no statement_timeout. `alter database … set jit = on` has the last word.
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %q%u@%d ",
            # A statement that fails may hold a secret, `select vault.create_secret('…')` for one, and so may detail and
            # context. Who sent it gets all of it; the log keeps the message.
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
        }
        if server.has_library("pg_stat_statements"):
            # For `basalt.slow_queries`. Utility statements are kept as they came, with the password that one may set.
            settings |= {
                "shared_preload_libraries": "pg_stat_statements",
                "pg_stat_statements.max": "1000",
                "pg_stat_statements.track_utility": "off",
            }
        if not self._fsync:
            settings |= {"fsync": "off", "full_page_writes": "off"}  # a commit still survives `kill -9`
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items()]
        return "\n".join([f"# PostgreSQL {server.version} from {server.bin_dir}", *lines, ""])

    def _write_settings(self, settings: str, home: Path, user: ServerUser) -> None:
        path = home / "data" / SETTINGS_FILE
        path.write_text(settings, "utf-8")
        user.own(path, 0o600)

    def _start(self, server: PostgresInstall, user: ServerUser) -> None:
        """Starts the server and waits until it takes connections. One that was killed with `kill -9` may
        leave processes behind that still hold its shared memory; they end by themselves, and until then
        PostgreSQL refuses to start."""
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            log_start = self._launch(server, user)
            if self._becomes_ready(deadline):
                return
            reason = _last_error(self.log_file, log_start)
            if "shared memory block" not in reason or time.monotonic() > deadline:
                self.stop()
                raise ClusterError(f"PostgreSQL did not start: {reason} (log: {self.log_file})")
            time.sleep(0.1)

    def _launch(self, server: PostgresInstall, user: ServerUser) -> int:
        """Returns where the log of this start begins."""
        disown_pid_file(self.data_dir)
        for leftover in socket_files(self.home, self.port):
            leftover.unlink(missing_ok=True)
        self.log_file.parent.mkdir(mode=0o700, exist_ok=True)
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_LIMIT_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        with self.log_file.open("ab") as log:
            log_start = log.tell()
            self._process = subprocess.Popen(
                [server.bin_dir / "postgres", "-D", self.data_dir],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops us in order
                **user.run_as(),
            )
        return log_start

    def _becomes_ready(self, deadline: float) -> bool:
        while time.monotonic() < deadline:
            running = read_postmaster(self.data_dir)
            if running is not None and running.is_ready:
                return True
            if not self.is_running() and self._process is None:
                return False
            time.sleep(POLL_S)
        return False

    def _reset_password(self, password: str, server: PostgresInstall, user: ServerUser) -> None:
        """Single-user mode needs no password: the way back in when `database.json` was lost."""
        self.stop()
        statement = f"alter role {SUPERUSER} login superuser password '{build_verifier(password)}'"
        answer = subprocess.run(
            [server.bin_dir / "postgres", "--single", "-D", self.data_dir, "postgres"],
            input=statement.encode(),
            capture_output=True,
            cwd="/",
            timeout=60,
            check=False,
            **user.run_as(),
        )
        if answer.returncode != 0 or b"ERROR" in answer.stderr:
            raise ClusterError(
                f"The password of {SUPERUSER} is lost and could not be set anew (log: {self.log_file})."
            )


def _last_error(log_file: Path, start: int) -> str:
    text = log_file.read_bytes()[start:].decode("utf-8", "replace")
    found = re.search(r"(?:FATAL|PANIC):\s+(.+)", text)
    lines = text.strip().splitlines()
    return found.group(1) if found else (lines[-1] if lines else "it said nothing.")


def _check_port_free(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as exc:
            raise ClusterError(
                f"Port {port} is in use by another program; stop it, or set another port under [db] in "
                "config.toml."
            ) from exc


def _answers(access: DatabaseAccess, *, limit_s: float) -> bool:
    """Whether the server lets us in; False on a wrong password, waits while it is starting or stopping."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            psycopg.connect(access.conninfo(SUPERUSER), connect_timeout=5).close()
        except psycopg.OperationalError as exc:
            if "password authentication failed" in str(exc) or time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        else:
            return True


def _remember_address(state_dir: Path, access: DatabaseAccess) -> None:
    state = read_state(state_dir)
    address = {
        "host": access.host,
        "port": access.port,
        "dbname": access.dbname,
        "socket_dir": access.socket_dir,
    }
    if any(state.get(key) != value for key, value in address.items()):
        write_state(state_dir, {**state, **address})
