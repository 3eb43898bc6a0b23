"""Finds the database file, and opens connections to it."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from inkstream._errors import InvalidInput, SchemaOutdated, StoreUnavailable
from inkstream.stores._sql import load
from inkstream.stores.sqlite import _holds
from inkstream.stores.sqlite._forks import check_inherited, check_locked, check_usable
from inkstream.stores.sqlite._open_files import LastOpened

SQL: Final = load(__package__, "queries.sql")
SCHEMA: Final = load(__package__, "schema.sql").schema
SCHEMA_VERSION: Final = 1

_NETWORK_FILESYSTEMS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "ncpfs", "ceph", "lustre", "gpfs"}
    | {"ocfs2", "gfs2", "beegfs", "pvfs2", "orangefs", "coda"}
)
_HOST_FILESYSTEMS: Final = frozenset({"9p", "drvfs", "virtiofs", "grpcfuse", "fakeowner", "vboxsf"})
"""Filesystems that show a host's folders to a virtual machine: WSL's /mnt/c, Docker Desktop."""
_LOCAL_FUSE: Final = frozenset({"fuseblk", "fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuse.lxcfs"})
"""FUSE drivers of local disks. Locks work on them, because the kernel keeps the locks."""
_URL_PREFIX: Final = "sqlite:///"


def database_path(path_or_url: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a database file.

    The argument is a path, ``sqlite:///relative.db`` or ``sqlite:////absolute.db``.

    Raises:
        InvalidInput: The URL has another scheme, or names SQLite's in-memory database.
    """
    text = os.fspath(path_or_url)
    if text.startswith("sqlite:"):
        if not text.startswith(_URL_PREFIX):
            raise InvalidInput(
                "a SQLite file is given as sqlite:///relative.db or sqlite:////absolute.db"
            )
        text = unquote(text.removeprefix(_URL_PREFIX).partition("?")[0])
    elif "://" in text:
        raise InvalidInput(f"{text.partition('://')[0]}:// is not the URL of a SQLite database")
    if text in ("", ":memory:") or text.startswith("file:"):
        raise InvalidInput(
            "SQLite's own memory cannot be shared by several connections: "
            "use memory:// for streams that need not outlive the process, or name a file"
        )
    return Path(text).absolute()


def create_file(path: Path) -> None:
    """Create an empty database that only its owner can read, if the file does not exist."""
    try:
        descriptor = os.open(os.path.realpath(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    os.close(descriptor)


def check_place(path: Path) -> None:
    """Raise an error if a database cannot work at this path. SQLite's own errors are unclear.

    Raises:
        StoreUnavailable: The directory is missing, read-only, or on a filesystem whose locks are
            not reliable; or this user may not read and write the file; or the file has a second
            name (a hard link).
    """
    directory = path.parent
    if not directory.is_dir():
        raise StoreUnavailable(f"{path}: there is no directory {directory}; create it first")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StoreUnavailable(
            f"{path}: the directory {directory} is not writable, but SQLite keeps its log there"
        )
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        status = path.stat()
        raise StoreUnavailable(
            f"{path}: this user may not write the file (its owner is user {status.st_uid}, its "
            f"mode {stat.S_IMODE(status.st_mode):o}): run as its owner, or change its rights"
        )
    if path.is_file() and path.stat().st_nlink > 1:
        raise StoreUnavailable(
            f"{path} has another name (a hard link), and SQLite keeps a log for each name: a "
            "program that opened the other name would damage the database. Remove the other name"
        )
    filesystem = _filesystem_of(directory)
    kind = _unsuitable(filesystem)
    if kind is not None:
        raise StoreUnavailable(
            f"{path} lies on {kind} ({filesystem}), whose locks SQLite cannot rely on: "
            "put it on a local disk (in Docker: a named volume), or use PostgreSQL"
        )


def _unsuitable(filesystem: str | None) -> str | None:
    if filesystem is None or filesystem in _LOCAL_FUSE:
        return None
    if filesystem in _NETWORK_FILESYSTEMS:
        return "a network filesystem"
    if filesystem in _HOST_FILESYSTEMS:
        return "a folder of the machine's host"
    if filesystem == "fuse" or filesystem.startswith("fuse."):
        return "a filesystem in user space"
    return None


def _filesystem_of(directory: Path) -> str | None:
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    real = os.path.realpath(directory)
    found: tuple[int, str] | None = None
    for line in mounts:
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4].replace("\\040", " ")
        inside = point == "/" or real == point or real.startswith(point + "/")
        # Use >=. If several filesystems are mounted on one point, only the last one is visible.
        if inside and (found is None or len(point) >= found[0]):
            found = len(point), rest.split()[0]
    return None if found is None else found[1]


def lock_file(path: Path) -> Path:
    """Return the path of the lock file on which a database's writers queue."""
    return Path(f"{path}-inkstream-lock")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that all connections to a database share."""

    path: Path
    synchronous: str
    busy_s: float
    place: LastOpened = field(default_factory=LastOpened)


def connect(settings: Settings, *, read_only: bool) -> sqlite3.Connection:
    """Return a connection for the calling thread only.

    Raises:
        StoreUnavailable: When this process was forked, the file was open or a thread was inside
            SQLite. Or the file was replaced or removed, but its old write-ahead log is still there.
            Or the file cannot have a write-ahead log.
        sqlite3.Error: The file does not exist, or SQLite cannot open it.
    """
    check_usable()
    check_inherited(settings.path)
    settings.place.check()
    # Do not create the file here: there must be an error if the file was deleted while in use.
    connection = sqlite3.connect(
        f"file:{quote(str(settings.path))}?mode=rw",
        uri=True,
        timeout=settings.busy_s,
        isolation_level=None,
        cached_statements=256,
    )
    try:
        if not read_only:
            _set_up_file(connection)
        connection.execute(f"PRAGMA synchronous={settings.synchronous}")
        if sys.platform == "darwin":
            connection.execute("PRAGMA fullfsync=1")
            connection.execute("PRAGMA checkpoint_fullfsync=1")
        # An automatic checkpoint could run at the same time as another process's write, and damage
        # the database (see ``WritersLock``). So the writing thread makes the checkpoints.
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA cache_size=-16000")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA foreign_keys=0")
        if read_only:
            connection.execute("PRAGMA query_only=1")
        # This read takes the lock that ``check_locked`` looks for.
        connection.execute("PRAGMA schema_version").fetchone()
        check_locked(settings.path, lock_file(settings.path))
        _holds.hold(settings.path)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up_file(connection: sqlite3.Connection) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        # Set auto_vacuum first. It has an effect only on a new file, and setting the journal mode
        # writes to the file. Set the journal mode only if it must change, because SQLite takes the
        # write lock to set it.
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise StoreUnavailable(
            f"this database cannot use a write-ahead log (its journal mode is {mode}): "
            "is it on a filesystem without shared memory?"
        )
    connection.execute("PRAGMA journal_size_limit=4194304")


def ensure_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Create inkstream's tables if the file has none. Call this under the writers' lock.

    Raises:
        SchemaOutdated: The file has tables of another version.
    """
    connection.execute("BEGIN" if _has_schema(connection) else "BEGIN IMMEDIATE")
    try:
        # Look again inside the transaction. On a system without the writers' lock, another process
        # may have created the tables just now.
        if not _has_schema(connection):
            for statement in SCHEMA.split(";\n"):
                connection.execute(statement)
        (version,) = connection.execute(SQL.schema_version).fetchone()
        if version != SCHEMA_VERSION:
            advice = (
                "it was written by a newer inkstream: upgrade the package, or use another file"
                if version > SCHEMA_VERSION
                else "run `inkstream migrate` on it first"
            )
            raise SchemaOutdated(
                f"{path}: the schema is version {version}, this inkstream needs "
                f"{SCHEMA_VERSION}: {advice}"
            )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def is_ready(connection: sqlite3.Connection) -> bool:
    """Return whether ``connect`` and ``ensure_schema`` would change nothing in the file."""
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal" or not _has_schema(connection):
        return False
    (version,) = connection.execute(SQL.schema_version).fetchone()
    return bool(version == SCHEMA_VERSION)


def _has_schema(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute(SQL.schema_exists).fetchone()[0])
