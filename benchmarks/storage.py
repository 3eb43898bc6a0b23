"""Measures the cost of storing: CPU and log bytes per token, and the final size of the file.

One benchmark also measures whether a token costs more in a long stream than in a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.report import Report
from inkstream import End, PersistentTextStreaming, Status, Timing
from inkstream.engine.reader import Reader
from inkstream.engine.writer import Writer

_T = TypeVar("_T")

_TEXT = 4_000
_TOKEN = "token "


@contextlib.contextmanager
def _database() -> Iterator[Path]:
    # Use the current folder, because the system's temporary folder may be in memory.
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as place:
        yield Path(place).resolve() / "bench.db"


def _run(main: Coroutine[Any, Any, _T]) -> _T:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def _paced(number: int, of: int, tokens: int) -> AsyncIterator[str]:
    at = time.monotonic() + number / of / 50
    for i in range(tokens):
        wait = at + i / 50 - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        yield _TOKEN


def commit(seconds: float, rounds: int) -> Report:
    """Measure only storing: 50 tokens a second per stream, without readers and without HTTP."""
    report = Report(
        f"keeping alone, SQLite, 50 tokens/s a stream, {seconds:g} s; us of CPU a token"
    )
    tokens = int(50 * seconds)
    for streams, window_s in ((40, None), (40, 0.05), (1000, None)):
        alone = _run(_generate(streams, tokens))
        with _database() as path:
            cpu, log = _run(_keep(path, streams, tokens, window_s))
        report.rows.append(
            {
                "streams": streams,
                "window": "auto" if window_s is None else "50 ms",
                "generator": alone,
                "with inkstream": cpu,
                "WAL B/token": log,
            }
        )
    report.ratios.append(
        ("WAL bytes a token at 50,000/s", report.rows[-1]["WAL B/token"], "<= 150")
    )
    return report


async def _generate(streams: int, tokens: int) -> float:
    async def drain(number: int) -> None:
        async for _ in _paced(number, streams, tokens):
            pass

    before = time.process_time()
    await asyncio.gather(*[drain(number) for number in range(streams)])
    return (time.process_time() - before) / streams / tokens * 1e6


async def _keep(
    path: Path, streams: int, tokens: int, window_s: float | None
) -> tuple[float, float]:
    timing = Timing() if window_s is None else Timing(latency_window_s=window_s)
    async with PersistentTextStreaming(f"sqlite:///{path}", timing=timing) as ink:
        ids = [await ink.create() for _ in range(streams)]
        log = _Log(path)
        before = time.process_time()
        for number, stream_id in enumerate(ids):
            ink.start(stream_id, lambda number=number: _paced(number, streams, tokens))
        waiting = asyncio.gather(*[ink.wait(stream_id) for stream_id in ids])
        while not waiting.done():
            await asyncio.wait((waiting,), timeout=0.02)
            log.look()
        cpu = time.process_time() - before
        if any(body.text != _TOKEN * tokens for body in waiting.result()):
            raise AssertionError("a text is not what was written")
    log.close()
    return cpu / streams / tokens * 1e6, log.bytes / streams / tokens


class _Log:
    """Count the bytes of a write-ahead log, which begins anew after each checkpoint.

    The log's index contains the number of frames in the log (SQLite, "WAL-mode file format", 2.1).
    """

    def __init__(self, path: Path) -> None:
        self._index = Path(f"{path}-shm").open("rb", buffering=0)  # noqa: SIM115
        self._last = self._frames()
        self.bytes = 0

    def _frames(self) -> int:
        self._index.seek(0)
        frames: int = struct.unpack_from("=I", self._index.read(20), 16)[0]
        return frames

    def look(self) -> None:
        now = self._frames()
        self.bytes += (now - self._last if now >= self._last else now) * (4096 + 24)
        self._last = now

    def close(self) -> None:
        """Close the index. This drops SQLite's locks, so the store must be closed before."""
        self._index.close()


def flat(seconds: float, rounds: int) -> Report:
    """Measure whether a token's cost depends on the number of earlier tokens."""
    report = Report(
        "one stream with a reader, SQLite, 20 tokens a commit, in turns with a new one; "
        "us of CPU a token"
    )
    with _database() as path:
        report.rows += _run(_grow(path, (1_000, 10_000, 100_000, 1_000_000)))
    last = report.rows[-1]
    report.ratios.append(("after 1,000,000 / new", last["us/token"] / last["new stream"], "<= 1.1"))
    return report


async def _grow(path: Path, marks: tuple[int, ...]) -> list[dict[str, float]]:
    timing = Timing(latency_window_s=0, throughput_window_s=0)
    rows: list[dict[str, float]] = []
    async with PersistentTextStreaming(f"sqlite:///{path}", timing=timing) as ink:
        old = await _Grown.make(ink)
        for mark in marks:
            while old.tokens < mark:
                await old.write(20)
            new = await _Grown.make(ink)
            for _ in range(10):
                await new.write(20)
            costs = [(await old.write(20), await new.write(20)) for _ in range(50)]
            await new.end()
            long, short = (sorted(column)[25] for column in zip(*costs, strict=True))
            rows.append({"tokens before": mark, "us/token": long, "new stream": short})
        await old.end()
    return rows


class _Grown:
    """A stream with a writer and a reader, and the number of tokens that were written."""

    def __init__(self, ink: PersistentTextStreaming, writer: Writer, reader: Reader) -> None:
        self.tokens = 0
        self._ink = ink
        self._writer = writer
        self._reading = asyncio.create_task(self._read(reader))

    @classmethod
    async def make(cls, ink: PersistentTextStreaming) -> _Grown:
        stream_id = await ink.create()
        writer = await ink.engine.claims.claim(stream_id)
        return cls(ink, writer, await ink.engine.readers.open(stream_id, None))

    async def _read(self, reader: Reader) -> None:
        while reader.end is None:
            await reader.frames()

    async def write(self, tokens: int) -> float:
        """Write ``tokens`` tokens in one commit; return the CPU microseconds per token."""
        before = time.process_time()
        for _ in range(tokens):
            await self._writer.append(_TOKEN)
        await self._writer.flush()
        self.tokens += tokens
        return (time.process_time() - before) / tokens * 1e6

    async def end(self) -> None:
        await self._ink.engine.writers.finish(self._writer, End(Status.DONE))
        await self._reading


def file(seconds: float, rounds: int) -> Report:
    """Measure the database file of 1,000 finished streams, compared with their texts."""
    report = Report(f"1,000 finished streams of {_TEXT:,} characters, SQLite, tidied")
    with _database() as path:
        _run(_fill(path))
        size = sum(p.stat().st_size for p in path.parent.glob("bench.db*") if p.is_file())
    text = 1_000 * _TEXT
    report.rows.append({"what": "text", "bytes": text})
    report.rows.append({"what": "files, free pages included", "bytes": size})
    report.ratios.append(("file / text", size / text, "<= 1.5"))
    return report


async def _fill(path: Path) -> None:
    async def answer() -> AsyncIterator[str]:
        for _ in range(_TEXT // 80):
            yield "x" * 80
            await asyncio.sleep(0.01)

    async with PersistentTextStreaming(f"sqlite:///{path}") as ink:
        ids = [await ink.create() for _ in range(1_000)]
        for stream_id in ids:
            ink.start(stream_id, answer)
        bodies = await asyncio.gather(*[ink.wait(stream_id) for stream_id in ids])
        if any(len(body.text) != _TEXT for body in bodies):
            raise AssertionError("a text is not what was written")
        while await ink.engine.store.tidy(0.0, 1 << 20):
            pass
