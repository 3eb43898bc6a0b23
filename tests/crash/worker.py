"""A process that writes and follows streams: ``python -m tests.crash.worker URL TIMING``.

Each input line is ``[number, command, argument…]``. Each output line is ``[number, name, value…]``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

from inkstream import End, NotClaimed, PersistentTextStreaming
from inkstream.engine.settings import FinerTiming

LEASE_S = 6.0
STALL_S = 13.0
POLL_S = 2.0
TIMINGS = {
    "short": FinerTiming(
        beat_s=1.0,
        lease_s=LEASE_S,
        stall_s=STALL_S,
        shutdown_grace_s=0.0,
        disconnect_grace_s=0.0,
        poll_s=POLL_S,
    ),
    # PostgreSQL gives up a silent connection after ten seconds. With these times, the other workers
    # take the connection's worker for dead several seconds before that.
    "brief": FinerTiming(beat_s=0.5, lease_s=3.0, stall_s=STALL_S, poll_s=POLL_S),
    "default": FinerTiming(),
}


class Worker:
    """The commands that a test may send to one instance of inkstream."""

    def __init__(self, streams: PersistentTextStreaming) -> None:
        self._streams = streams
        self._gates: defaultdict[str, asyncio.Queue[str | None]] = defaultdict(asyncio.Queue)

    async def obey(self, number: int, command: str, *arguments: Any) -> None:
        try:
            value = await getattr(self, f"do_{command}")(number, *arguments)
        except Exception as exc:
            tell(number, "failed", type(exc).__name__)
        else:
            tell(number, "done", value)

    async def do_create(self, number: int, *names: str) -> None:
        for name in names:
            await self._streams.create(name)

    async def do_start(
        self, number: int, name: str, on_disconnect: Literal["continue", "cancel"] = "continue"
    ) -> None:
        """Start a stream whose source yields the texts of ``say``. Wait for the stream's end."""

        async def source() -> AsyncIterator[str]:
            try:
                while (item := await self._gates[name].get()) is not None:
                    yield item
            finally:
                tell(number, "closed")

        await self._streams.start(name, source, on_disconnect=on_disconnect)

    async def do_count(self, number: int, name: str) -> None:
        """Start a stream whose source yields numbers, until a ``say`` for the stream arrives."""
        gate = self._gates[name]

        async def source() -> AsyncIterator[str]:
            for count in itertools.count():
                yield f"{count} "
                if count % 7 == 0:
                    await asyncio.sleep(0.002)
                    if not gate.empty():
                        return

        await self._streams.start(name, source)

    async def do_create_job(self, number: int, name: str) -> None:
        """Create a stream that one job writes, and that another job may take over."""
        await self._streams.create(name, takeover_within_s=60)

    async def do_job(self, number: int, name: str) -> None:
        """Wait until this process can write the stream, and append the texts of ``say``.

        Print the text that the stream already has.
        """
        while True:
            try:
                async with self._streams.write(name, takeover=True) as writer:
                    tell(number, "begins", (await writer.body()).text)
                    while (item := await self._gates[name].get()) is not None:
                        await writer.append(item)
                        await writer.flush()
                return
            except NotClaimed:
                await asyncio.sleep(0.1)  # a job queue also waits before it starts a job again

    async def do_block(self, number: int, seconds: float) -> None:
        tell(number, "blocks")
        time.sleep(seconds)  # noqa: ASYNC251 - the blocked loop is the fault under test

    async def do_block_in_source(self, number: int, name: str, seconds: float) -> None:
        async def source() -> AsyncIterator[str]:
            yield "before"
            time.sleep(seconds)  # noqa: ASYNC251 - the blocked loop is the fault under test

        await self._streams.create(name)
        await self._streams.start(name, source)

    async def do_copy(self, number: int, folder: str) -> None:
        """Read every file of a folder, as a backup program that ignores SQLite's locks does."""
        for file in Path(folder).rglob("*"):  # noqa: ASYNC240 - blocks for microseconds
            if file.is_file():
                file.read_bytes()

    async def do_say(self, number: int, name: str, *items: str | None) -> None:
        """Let a stream's source write texts. ``None`` ends the stream."""
        for item in items:
            self._gates[name].put_nowait(item)

    async def do_race(self, number: int, *names: str) -> list[str]:
        """Start streams that other processes start too.

        Return the streams whose source this process called.
        """
        called: list[str] = []

        def source_of(name: str) -> Any:
            async def source() -> AsyncIterator[str]:
                called.append(name)
                yield f"by {os.getpid()}"

            return source

        await asyncio.gather(*[self._streams.start(name, source_of(name)) for name in names])
        return called

    async def do_follow(self, number: int, name: str) -> None:
        async for item in self._streams.follow(name):
            if isinstance(item, End):
                tell(number, "end", item.status, item.code)
            else:
                tell(number, "text", item)

    async def do_read(self, number: int, name: str) -> list[Any]:
        body = await self._streams.read(name)
        return [body.status, body.end and body.end.code, body.text]

    async def do_cancel(self, number: int, name: str) -> bool:
        return await self._streams.cancel(name)


def tell(number: int, what: str, *values: Any) -> None:
    sys.stdout.write(json.dumps([number, what, *values]) + "\n")
    sys.stdout.flush()


async def main(database: str, timing: str) -> None:
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with PersistentTextStreaming(database, timing=TIMINGS[timing]) as streams:
        worker = Worker(streams)
        tell(0, "ready")
        tasks = set()
        while line := await lines.readline():
            task = asyncio.create_task(worker.obey(*json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
