"""The private PostgreSQL cluster of a project, below `.basalt/postgres/`.

`PrivateCluster.ensure` makes the cluster if it is new, starts it and waits until it answers; it also comes to terms with what
it may find there: a server left behind by a killed supervisor is adopted, a stale pid file is ignored, and a busy port, a
read-only folder or a foreign data directory each is one sentence.
"""

import fcntl
import hashlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from basalt.errors import BasaltError
from basalt.postgres.access import LOGIN_ROLES, DatabaseAccess, load_passwords, read_state, write_state
from basalt.postgres.install import InstallError, PostgresInstall, find_postgres
from basalt.postgres.os_user import ServerUser, server_user
from basalt.postgres.postmaster import POLL_S, Postmaster, read_postmaster, stop_postmaster
from basalt.postgres.scram import build_verifier
from basalt.postgres.tree import ensure_tree

HOST = "127.0.0.1"
SUPERUSER = "supabase_admin"
START_LIMIT_S = 60
SOCKET_PATH_LIMIT = 103  # sun_path holds 104 bytes on BSD and macOS, 108 on Linux
LOG_LIMIT_BYTES = 10_000_000
SETTINGS_FILE = "basalt.conf"

# Supabase sorts text as English; a server built without ICU or without the C.UTF-8 locale sorts by code point.
LOCALES = (
    ("--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"),
    ("--locale=C.UTF-8",),
    ("--locale=C",),
)

HBA = """\
# Every connection proves its password, on the socket as on TCP.
local  all          all                scram-sha-256
host   all          all  127.0.0.1/32  scram-sha-256
host   all          all  ::1/128       scram-sha-256
local  replication  all                scram-sha-256
host   replication  all  127.0.0.1/32  scram-sha-256
host   replication  all  ::1/128       scram-sha-256
"""


class ClusterError(BasaltError):
    """The private cluster cannot run; the message is one sentence that says why and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__("cluster_failed", 500, message)


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
        """Where data, private tree, sockets and log are: `.basalt/postgres` unless PostgreSQL's user cannot get there."""
        kept = _read_home(self.state_dir)
        return kept or self.state_dir / "postgres"

    @property
    def data_dir(self) -> Path:
        return self.home / "data"

    @property
    def log_file(self) -> Path:
        return self.home / "log" / "postgres.log"

    def ensure(self) -> DatabaseAccess:
        """The cluster exists, runs and answers when this returns."""
        _make_state_dir(self.state_dir)
        with _lock(self.state_dir / "cluster.lock"):
            user = server_user()
            home = _choose_home(self.state_dir, user)
            passwords = load_passwords(self.state_dir, LOGIN_ROLES)
            install = self._find_install(home / "data")
            server = ensure_tree(install, home / "tree") or install
            run_dir = _ensure_run_dir(home, user)
            access = DatabaseAccess(HOST, self.port, "postgres", passwords, socket_dir=str(run_dir))
            settings = self._render_settings(run_dir, server)
            if self._adopt(access, settings):
                return access
            _check_port_free(self.port)
            syncing = None
            if not (home / "data").exists():
                syncing = self._create(install, home, user, passwords[SUPERUSER])
            self._write_settings(settings, home, user)
            self._start(server, home, user)
            self._wait_ready(access, server, user)
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
            return find_postgres(self._wanted_extensions)
        try:
            major = int((data_dir / "PG_VERSION").read_text("ascii").strip())
        except (OSError, ValueError) as exc:
            raise ClusterError(
                f"{data_dir} is not a PostgreSQL data directory; move it away and start again."
            ) from exc
        if not (data_dir / SETTINGS_FILE).exists():
            raise ClusterError(
                f"{data_dir} was made by another program than Basalt; move it away and start again, "
                "or set DATABASE_URL to use that server."
            )
        try:
            return find_postgres(major=major)
        except InstallError as exc:
            installed = find_postgres().major
            raise ClusterError(
                f"{data_dir} was made by PostgreSQL {major}, but this machine has PostgreSQL {installed}: install "
                f"PostgreSQL {major} (apt-get install postgresql-{major}), or move the folder away to start empty."
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
        self._stop_leftover(running)
        return False

    def _stop_leftover(self, running: Postmaster) -> None:
        stop_postmaster(running.pid, self.data_dir)
        if self._process is not None:
            self._process.wait(timeout=10)
            self._process = None

    def _create(
        self, install: PostgresInstall, home: Path, user: ServerUser, password: str
    ) -> subprocess.Popen[bytes] | None:
        """A new data directory, complete or not there at all. Returns the process that flushes it to disk meanwhile."""
        building = home / "data.new"
        shutil.rmtree(building, ignore_errors=True)
        _run_initdb(install, building, user, password)
        (building / "pg_hba.conf").write_text(HBA, "utf-8")
        with (building / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(f"\n# Settings of Basalt, written at every start; add your own below.\ninclude '{SETTINGS_FILE}'\n")
        building.rename(home / "data")
        if not self._fsync:
            return None
        return subprocess.Popen(
            [install.bin_dir / "initdb", "--sync-only", "-D", home / "data"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **user.run_as(),
        )

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
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %q%u@%d ",
        }
        if not self._fsync:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items()]
        return "\n".join([f"# PostgreSQL {server.version} from {server.bin_dir}", *lines, ""])

    def _write_settings(self, settings: str, home: Path, user: ServerUser) -> None:
        path = home / "data" / SETTINGS_FILE
        path.write_text(settings, "utf-8")
        user.own(path, 0o600)

    def _start(self, server: PostgresInstall, home: Path, user: ServerUser) -> None:
        for leftover in [home / "data" / "postmaster.pid", *_socket_files(home, self.port)]:
            leftover.unlink(missing_ok=True)  # nobody is alive there: a reused process number would make the server refuse
        self.log_file.parent.mkdir(mode=0o700, exist_ok=True)
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_LIMIT_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        with self.log_file.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [server.bin_dir / "postgres", "-D", home / "data"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
                start_new_session=True,  # Ctrl-C in the terminal is for the supervisor, which stops us in order
                **user.run_as(),
            )

    def _wait_ready(self, access: DatabaseAccess, server: PostgresInstall, user: ServerUser) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            running = read_postmaster(self.data_dir)
            if running is not None and running.is_ready:
                break
            if self._process is None or self._process.poll() is not None:
                self._process = None
                raise ClusterError(f"PostgreSQL did not start: {self._last_error()} (log: {self.log_file})")
            time.sleep(POLL_S)
        else:
            self.stop()
            raise ClusterError(f"PostgreSQL was not ready after {START_LIMIT_S} s (log: {self.log_file}).")
        if _answers(access, limit_s=10):
            return
        self._reset_password(access.passwords[SUPERUSER], server, user)
        self._start(server, self.home, user)
        self._wait_ready(access, server, user)

    def _last_error(self) -> str:
        text = self.log_file.read_bytes()[self._log_start :].decode("utf-8", "replace")
        found = re.search(r"(?:FATAL|PANIC):\s+(.+)", text)
        lines = text.strip().splitlines()
        return found.group(1) if found else (lines[-1] if lines else "it said nothing.")

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
            raise ClusterError(f"The password of {SUPERUSER} is lost and could not be set anew (log: {self.log_file}).")


def _make_state_dir(state_dir: Path) -> None:
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=state_dir):
            pass
    except OSError as exc:
        raise ClusterError(f"{state_dir} cannot be written to ({exc.strerror}); Basalt keeps its data there.") from exc


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One start at a time per project."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read_home(state_dir: Path) -> Path | None:
    kept = read_state(state_dir).get("cluster_dir")
    return Path(kept) if isinstance(kept, str) else None


def _choose_home(state_dir: Path, user: ServerUser) -> Path:
    """`.basalt/postgres`, or `/var/lib/basalt/NAME-HASH` where PostgreSQL's user cannot get there (a project below /root)."""
    home = _read_home(state_dir)
    if home is None:
        if user.drops_root:
            os.chown(state_dir, 0, user.gid)
            state_dir.chmod(0o710)  # the server passes through; the secrets in it stay 0600
        home = state_dir / "postgres"
        if not user.can_enter(state_dir):
            digest = hashlib.sha256(str(state_dir).encode()).hexdigest()[:12]
            name = re.sub(r"[^A-Za-z0-9_.-]", "-", state_dir.parent.name) or "project"
            home = Path("/var/lib/basalt") / f"{name}-{digest}"
            home.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_state(state_dir, {**read_state(state_dir), "cluster_dir": str(home)})
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        user.own(home, 0o700)
    except OSError as exc:
        raise ClusterError(f"{home} cannot be written to ({exc.strerror}); PostgreSQL keeps its data there.") from exc
    return home


def _ensure_run_dir(home: Path, user: ServerUser) -> Path:
    """The folder of the private socket; a short one elsewhere when the project's path is too long for a socket."""
    run_dir = home / "run"
    if len(os.fsencode(run_dir / ".s.PGSQL.65535")) > SOCKET_PATH_LIMIT:
        digest = hashlib.sha256(str(home).encode()).hexdigest()[:12]
        run_dir = Path(tempfile.gettempdir()) / f"basalt-{digest}"
    run_dir.mkdir(mode=0o700, exist_ok=True)
    found = run_dir.lstat()
    if run_dir.is_symlink() or found.st_uid not in (os.geteuid(), user.uid):
        raise ClusterError(f"{run_dir} belongs to somebody else; remove it so that PostgreSQL's socket can be there.")
    user.own(run_dir, 0o700)
    return run_dir


def _socket_files(home: Path, port: int) -> list[Path]:
    return [home / "run" / f".s.PGSQL.{port}{suffix}" for suffix in ("", ".lock")]


def _run_initdb(install: PostgresInstall, data_dir: Path, user: ServerUser, password: str) -> None:
    handle, name = tempfile.mkstemp(prefix="basalt-")
    password_file = Path(name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(password)
        user.own(password_file, 0o400)
        for locale in LOCALES:
            answer = subprocess.run(
                [
                    install.bin_dir / "initdb",
                    *("-D", data_dir, "-U", SUPERUSER, "--pwfile", password_file),
                    *("--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", "--no-instructions"),
                    *locale,
                ],
                capture_output=True,
                text=True,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                timeout=300,
                check=False,
                **user.run_as(),
            )
            if answer.returncode == 0:
                return
    finally:
        password_file.unlink(missing_ok=True)
    reason = re.search(r"error: (.+)", answer.stderr)
    raise ClusterError(f"initdb could not make {data_dir}: {reason.group(1) if reason else answer.stderr.strip()}")


def _check_port_free(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as exc:
            raise ClusterError(
                f"Port {port} is in use by another program; stop it or set another port under [db] in config.toml."
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
    address = {"host": access.host, "port": access.port, "dbname": access.dbname, "socket_dir": access.socket_dir}
    if any(state.get(key) != value for key, value in address.items()):
        write_state(state_dir, {**state, **address})
