"""A process that opens a SQLite file and forks: ``sqlite_forking.py path state which``.

The parent and the child print a line after each step. The parent reads its commands from standard
input. The child reads its commands from the file descriptor whose number is in ``CHILD_INPUT``.

At the fork, the parent has not used the file yet (``state`` is ``unused``), has used it (``idle``),
writes (``committing``) or waits for a lock (``waiting``). ``test_fork`` explains ``which``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
import threading
import time

import inkstream
import inkstream.sync
from inkstream import StoreUnavailable
from inkstream.stores.sqlite import _forks

PATH, STATE, WHICH = sys.argv[1:]
URL = f"sqlite:///{PATH}"
CHILD_INPUT = int(os.environ["CHILD_INPUT"])
if "WITHOUT_PROC" in os.environ:
    setattr(_forks, "locks_here", lambda path: None)  # noqa: B010


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


class Parent:
    def __init__(self) -> None:
        self.streams = inkstream.sync.PersistentTextStreaming(URL)
        self.app: sqlite3.Connection | None = None
        if WHICH == "app":
            self.app = sqlite3.connect(PATH, isolation_level=None, check_same_thread=False)
        busy = threading.Event()
        if STATE == "unused":
            return
        if self.app is not None:
            self.app.execute("SELECT * FROM inkstream_meta").fetchall()
            if STATE == "committing":
                self.app.execute("BEGIN IMMEDIATE")
                self.app.execute("CREATE TABLE of_the_app (x)")
            elif STATE == "waiting":
                threading.Thread(target=self.app_waits, args=(busy,), daemon=True).start()
                busy.wait()
                # SQLite's allocator has a lock. If the thread held this lock during the fork, the
                # child could not use SQLite. So wait until the thread sleeps between two attempts
                # to begin its transaction: a sleeping thread does not hold the lock.
                time.sleep(0.3)
            return
        self.streams.create("parent")
        self.streams.read("parent")
        if STATE == "committing":
            threading.Thread(target=self.commit_on, args=(busy,), daemon=True).start()
            busy.wait()
        elif STATE == "waiting":
            say("lock")
            sys.stdin.readline()
            threading.Thread(target=self.create_late, daemon=True).start()
            say("waits")
            sys.stdin.readline()

    def app_waits(self, busy: threading.Event) -> None:
        assert self.app is not None
        with contextlib.closing(sqlite3.connect(PATH, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            busy.set()
            with contextlib.suppress(sqlite3.OperationalError):
                self.app.execute("BEGIN IMMEDIATE")

    def commit_on(self, busy: threading.Event) -> None:
        with self.streams.write("parent") as writer:
            for number in range(1_000_000):
                writer.append(f"{number},")
                writer.flush()
                say(f"acknowledged {number}")
                if number == 5:
                    busy.set()

    def create_late(self) -> None:
        self.streams.create("late")
        say("late created")


def child_with(parent: Parent) -> None:
    if WHICH == "same":
        child_sync(parent.streams)
    else:
        asyncio.run(child_async())


def child_sync(streams: inkstream.sync.PersistentTextStreaming) -> None:
    streams.create("child")
    with streams.write("child") as writer:
        for _ in "before", "after":
            for number in range(20):
                writer.append(f"{number},")
                writer.flush()
            go_on()


async def child_async() -> None:
    async with inkstream.PersistentTextStreaming(URL) as streams:
        await streams.create("child")
        async with streams.write("child") as writer:
            for _ in "before", "after":
                for number in range(20):
                    await writer.append(f"{number},")
                    await writer.flush()
                await asyncio.to_thread(go_on)


def go_on() -> None:
    say("child flushed")
    if os.read(CHILD_INPUT, 1) == b"k":
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    parent = Parent()
    child = os.fork()
    if child == 0:
        try:
            child_with(parent)
        except StoreUnavailable as exc:
            say(f"child refused: {exc}")
        except BaseException as exc:
            say(f"child failed: {exc!r}")
        return  # the child's interpreter ends normally
    say(f"forked {child}")
    sys.stdin.readline()


if __name__ == "__main__":
    main()
