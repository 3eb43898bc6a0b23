"""If a process with an open SQLite file forks, no text of the child is lost without an error."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inkstream.stores.sqlite import check_streams
from inkstream.stores.sqlite._locks import WritersLock
from inkstream.sync import PersistentTextStreaming, _loop

SCRIPT = str(Path(__file__).with_name("sqlite_forking.py"))

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


class Forking:
    """A process that runs ``sqlite_forking.py``, and the lines that it has printed."""

    def __init__(self, path: Path, state: str, which: str) -> None:
        read, self.child_input = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT, str(path), state, which],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[read],
            env=os.environ | {"CHILD_INPUT": str(read)},
            start_new_session=True,
        )
        os.close(read)
        self.lines: list[str] = []

    def until(self, begin: str) -> str:
        """Return the next line that begins with ``begin``."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith(begin):
                return self.lines[-1]
            if line.startswith("child"):
                break
        raise AssertionError(f"no {begin!r} in {self.lines}")

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        os.close(self.child_input)


@contextlib.contextmanager
def forking(path: Path, state: str, which: str) -> Iterator[Forking]:
    process = Forking(path, state, which)
    try:
        yield process
    finally:
        process.close()


def come_and_go(path: Path) -> None:
    """Open and close the file, as any other program may do."""
    done = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
    done += "c.execute('SELECT * FROM inkstream_meta').fetchall(); c.close()"
    subprocess.run([sys.executable, "-c", done, str(path)], check=True, timeout=20)


def wait_for_the_lock(pid: int) -> None:
    deadline = time.monotonic() + 10
    while not any(
        "-> FLOCK" in line and f" {pid} " in line
        for line in Path("/proc/locks").read_text().splitlines()
    ):
        assert time.monotonic() < deadline, "the process does not wait for the lock"


def fork(forked: Forking, path: Path) -> None:
    """Let the script fork while a thread of the script waits for the writers' lock."""
    forked.until("lock")
    lock = WritersLock(path)
    with lock:
        forked.go()
        forked.until("waits")
        wait_for_the_lock(forked.process.pid)
        forked.go()
        forked.until("forked")
    lock.close()


def end(forked: Forking, how: str, path: Path) -> None:
    if how == "stops":
        forked.go()
        assert forked.process.wait(20) == 0
    elif how == "is killed":
        forked.process.kill()
        forked.process.wait(20)
    if how != "stops":
        come_and_go(path)


def stored(path: Path, stream_id: str) -> str:
    streams = PersistentTextStreaming(f"sqlite:///{path}")
    try:
        return streams.read(stream_id).text
    finally:
        _loop._stop()


def numbers(count: int) -> str:
    return "".join(f"{number}," for number in range(count))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "streams.db"
    streams = PersistentTextStreaming(f"sqlite:///{path}")
    streams.create("there")
    _loop._stop()
    return path


REFUSED = {("waiting", "same"), ("waiting", "own")} | {
    (state, "app") for state in ("idle", "committing", "waiting")
}


@pytest.mark.parametrize("how", ["stops", "is killed", "stays"])
@pytest.mark.parametrize("which", ["same", "own", "app"])
@pytest.mark.parametrize("state", ["unused", "idle", "committing", "waiting"])
def test_fork(path: Path, state: str, which: str, how: str) -> None:
    """G1: a child's flushed text is stored. A child that would write without locks is refused.

    ``which`` says what the parent has: the ``PersistentTextStreaming`` that the child uses
    (``same``), another one (``own``), or a connection of the application (``app``).
    """
    with forking(path, state, which) as forked:
        if state == "waiting" and which != "app":
            fork(forked, path)
        if (state, which) in REFUSED:
            assert "post_fork" in forked.until("child refused")
            end(forked, how, path)
        else:
            forked.until("child flushed")
            end(forked, how, path)
            os.write(forked.child_input, b"g")
            forked.until("child flushed")
            os.write(forked.child_input, b"k")
    assert check_streams(path) == []
    if (state, which) not in REFUSED:
        assert stored(path, "child") == numbers(20) * 2
    if state == "committing" and which != "app":
        acknowledged = sum(line.startswith("acknowledged") for line in forked.lines)
        assert stored(path, "parent").startswith(numbers(acknowledged))


def test_fork_without_proc(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G1: a child without locks is refused, even if the system has no list of locks (macOS)."""
    monkeypatch.setenv("WITHOUT_PROC", "1")
    with forking(path, "waiting", "own") as forked:
        fork(forked, path)
        assert "post_fork" in forked.until("child refused")


def test_the_parent_goes_on(path: Path) -> None:
    """G1, G12: after each fork, the calls of the parent still succeed."""
    streams = PersistentTextStreaming(f"sqlite:///{path}")
    try:
        streams.create("one")
        with streams.write("one") as writer:
            for number in range(5):
                pid = os.fork()
                if pid == 0:
                    os._exit(0)
                os.waitpid(pid, 0)
                writer.append(f"{number},")
                writer.flush()
        assert streams.read("one").text == numbers(5)
    finally:
        _loop._stop()


def test_a_connection_closed_before_the_fork(path: Path) -> None:
    """If the parent closes its connections before the fork, the child can use the file."""
    connection = sqlite3.connect(path)
    connection.execute("SELECT * FROM inkstream_meta").fetchall()
    connection.close()
    pid = os.fork()
    if pid == 0:
        try:
            PersistentTextStreaming(f"sqlite:///{path}").create("child")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert stored(path, "child") == ""


INSIDE = """
import _sqlite3, ctypes, os, signal, sys, threading
from inkstream import StoreUnavailable
from inkstream.stores.sqlite import _forks
from inkstream.sync import PersistentTextStreaming

_forks._PROBE_S = 0.5
library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
library.sqlite3_mutex_alloc.restype = ctypes.c_void_p
inside = threading.Event()


def allocate():
    mutex = ctypes.c_void_p(library.sqlite3_mutex_alloc(3))  # SQLITE_MUTEX_STATIC_MEM
    library.sqlite3_mutex_enter(mutex)
    inside.set()
    threading.Event().wait()


threading.Thread(target=allocate, daemon=True).start()
inside.wait()
child = os.fork()
if child == 0:
    signal.alarm(10)
    try:
        PersistentTextStreaming(sys.argv[1]).create("s")
    except StoreUnavailable as error:
        os.write(1, str(error).encode())
    os._exit(0)
os.waitpid(child, 0)
os._exit(0)
"""


def test_fork_inside_the_allocator(tmp_path: Path) -> None:
    """If a thread of the application is inside SQLite during the fork, the child gets an error.

    Without this error, calls of SQLite in the child would hang for ever.
    """
    done = subprocess.run(
        [sys.executable, "-c", INSIDE, f"sqlite:///{tmp_path / 'f.db'}"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "a thread was inside SQLite during the fork" in done.stdout, done.stderr
