"""Measures how soon readers in another process learn that a writer has died or was cut off.

In each round, a new process writes a stream that this process follows. After the first text has
arrived, the benchmark kills the writer with ``-9``, or cuts its network. Then it measures the time
until the terminal event arrives.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Report
from inkstream import End, PersistentTextStreaming, Timing
from tests import postgres_server
from tests.crash.host import Host, reachable_server, url_over_there
from tests.pgbouncer import pgbouncer, with_listener

WAYS = ("sqlite", "postgresql", "pooler and listener_url", "pooler", "cut host")
SLOW = ("pooler", "cut host")
"""After these ways of losing a writer, a round lasts until the lease has passed. So these ways
get fewer rounds."""


def death(seconds: float, rounds: int) -> Report:
    """Measure each way of losing a writer, one way after the other."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    report = Report("from the loss of the writer to the terminal event in another process")
    for way in WAYS:
        times = rounds if way not in SLOW else max(3, rounds // 10)
        with _place(way) as place:
            found = asyncio.run(_lose_each(place, times))
        report.rows.append(
            {
                "database": way,
                "times": times,
                "least s": min(found),
                "median s": statistics.median(found),
                "most s": max(found),
            }
        )
    return report


@dataclass(frozen=True, slots=True)
class _Place:
    """The place where a writer runs, and how to lose it.

    Attributes:
        url: The URL of the database, for the writer and for the reader.
        prefix: Words before a command, which make the command run in this place.
        lose: A function that kills or disconnects the writer that has the given process id.
        regain: A function that restores the place for the next writer.
    """

    url: str
    prefix: tuple[str, ...] = ()
    lose: Callable[[int], None] = lambda pid: os.kill(pid, signal.SIGKILL)
    regain: Callable[[], None] = lambda: None


@contextmanager
def _place(way: str) -> Iterator[_Place]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # PgBouncer runs as another user
        if way == "sqlite":
            yield _Place(f"sqlite:///{folder / 'bench.db'}")
        elif way == "cut host":
            host = stack.enter_context(Host())
            server = stack.enter_context(reachable_server(host))
            url = url_over_there(server, host, asyncio.run(server.make_database()))
            yield _Place(url, host.prefix, lambda _: host.cut(), host.heal)
        else:
            server = postgres_server.own_server(settings=("fsync=on",))
            stack.callback(server.destroy)
            url = asyncio.run(server.make_database())
            if way != "postgresql":
                pooler = stack.enter_context(pgbouncer(server, folder))
                url = pooler.url_of(url, "&pooler=1" if way == "pooler" else with_listener(url))
            yield _Place(url)


async def _lose_each(place: _Place, times: int) -> list[float]:
    found: list[float] = []
    async with PersistentTextStreaming(place.url) as streams:
        while len(found) < times:
            stream_id = await streams.create()
            writer = await asyncio.create_subprocess_exec(
                *place.prefix,
                *(sys.executable, "-m", "benchmarks.death", place.url, stream_id),
            )
            lost = 0.0
            async for item in streams.follow(stream_id):
                if isinstance(item, End):
                    found.append(time.monotonic() - lost)
                    if item.code != "writer_lost":
                        raise AssertionError(item)
                elif not lost:
                    # The rounds spread the losses evenly over the time between two beats.
                    await asyncio.sleep(Timing().beat_s * len(found) / times)
                    lost = time.monotonic()
                    place.lose(writer.pid)
            if writer.returncode is None:
                writer.kill()
            await writer.wait()
            place.regain()
    return found


async def _write(url: str, stream_id: str) -> None:
    async with PersistentTextStreaming(url) as streams, streams.write(stream_id) as writer:
        while True:
            await writer.append("word ")
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(_write(sys.argv[1], sys.argv[2]))
