"""Compares inkstream with the official server of Durable Streams: cost and delay of appends."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from benchmarks import node
from benchmarks.cores import start
from benchmarks.report import Report
from benchmarks.server import Server

_INKSTREAM = [
    *(sys.executable, "-c", "from inkstream.cli import main; main()"),
    *("serve", "--port", "0", "--allow-anonymous", "--database"),
]
_SERVERS = ("inkstream, SQLite", "inkstream, memory", "Node, file", "Node, memory")
_WRITERS = 16
_PACED = 20
_PACE = 25.0
_TEXT = "x" * 64
_AT = re.compile(rb'"at":(\d+\.\d+)')


def durable(seconds: float, rounds: int) -> Report:
    """Measure appends of busy writers, and then of paced writers with a follower each."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in _SERVERS}
    for _ in range(rounds):
        for name in _SERVERS:
            with _serving(name) as (server, path):
                found[name].append(_run(_measure(server, path, seconds)))
    report = Report(
        f"Durable Streams: {_WRITERS} writers as fast as they can; then {_PACED} streams x "
        f"{_PACE:g} messages/s, one SSE follower each; {rounds} rounds of {seconds:g} s each; "
        "CPU us, latencies in ms"
    )
    rows: dict[str, dict[str, Any]] = {}
    for name, runs in found.items():
        rows[name] = {"server": name} | {key: median(run[key] for run in runs) for key in runs[0]}
        report.rows.append(rows[name])
    for kind, ours, theirs in (
        ("kept", "inkstream, SQLite", "Node, file"),
        ("in memory", "inkstream, memory", "Node, memory"),
    ):
        ratios = [
            f"{what} {rows[theirs][what] / rows[ours][what]:.2f}"
            for what in ("appends/s", "CPU per append", "CPU per delivery")
        ]
        report.notes.append(f"{kind}, Node / inkstream: {', '.join(ratios)}")
    return report


def _run(measure: Coroutine[Any, Any, dict[str, float]]) -> dict[str, float]:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measure)


@contextlib.contextmanager
def _serving(name: str) -> Iterator[tuple[Server, str]]:
    """Run a server on the servers' core; yield the server and the path of its streams."""
    kind, _, store = name.partition(", ")
    # Use the current folder, because the system's temporary folder may be in memory.
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as folder:
        place = Path(folder).resolve()
        if kind == "inkstream":
            database = "memory://" if store == "memory" else f"sqlite:///{place / 'bench.db'}"
            command = [*_INKSTREAM, database]
        else:
            command = node.command("durable-streams.js") + ([] if store == "memory" else [folder])
        process = start(command, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            told = next(line for line in process.stdout if b"http://" in line)
            url = urlsplit(told.split()[-1].decode())
            assert url.hostname is not None
            assert url.port is not None
            yield Server(process, (url.hostname, url.port)), "/v1/stream/"
        finally:
            process.kill()
            process.communicate()


async def _measure(server: Server, path: str, seconds: float) -> dict[str, float]:
    busy = [await _Writer.make(server, f"{path}busy-{i}") for i in range(_WRITERS)]
    await asyncio.gather(*[writer.append_until(time.monotonic() + 0.5) for writer in busy])
    cpu, began = server.cpu_s(), time.monotonic()
    counts = await asyncio.gather(*[writer.append_until(began + seconds) for writer in busy])
    appends, appends_cpu = sum(counts), server.cpu_s() - cpu
    took = time.monotonic() - began

    paced = [await _Writer.make(server, f"{path}paced-{i}") for i in range(_PACED)]
    messages = int(_PACE * seconds)
    seen: list[float] = []
    cpu = server.cpu_s()
    await asyncio.gather(
        *[_follow(server, writer.path, messages, seen) for writer in paced],
        *[writer.append_paced(i / _PACED / _PACE, messages) for i, writer in enumerate(paced)],
    )
    deliveries_cpu = server.cpu_s() - cpu
    for writer in (*busy, *paced):
        writer.close()
    seen.sort()
    return {
        "appends/s": appends / took,
        "CPU per append": appends_cpu * 1e6 / appends,
        "p50": seen[len(seen) // 2] * 1e3,
        "p99": seen[int(0.99 * (len(seen) - 1))] * 1e3,
        "CPU per delivery": deliveries_cpu * 1e6 / len(seen),
    }


class _Writer:
    """A stream and a connection that appends to it, one append at a time."""

    def __init__(
        self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.path = path
        self._reader = reader
        self._writer = writer

    @classmethod
    async def make(cls, server: Server, path: str) -> _Writer:
        made = cls(path, *await asyncio.open_connection(*server.address))
        await made._request("PUT", b"")
        return made

    async def append_until(self, end: float) -> int:
        """Append without a pause; return the number of appends."""
        count = 0
        while time.monotonic() < end:
            await self._append()
            count += 1
        return count

    async def append_paced(self, wait_s: float, messages: int) -> None:
        due = time.monotonic() + 0.3 + wait_s
        for _ in range(messages):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self._append()
            due += 1 / _PACE

    def close(self) -> None:
        self._writer.close()

    async def _append(self) -> None:
        await self._request("POST", f'{{"at":{time.monotonic():.6f},"text":"{_TEXT}"}}'.encode())

    async def _request(self, method: str, body: bytes) -> None:
        head = (
            f"{method} {self.path} HTTP/1.1\r\nhost: bench\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if answer.split()[1] not in (b"200", b"201", b"204"):
            raise RuntimeError(answer.decode())
        if b"transfer-encoding: chunked" in answer:
            await self._reader.readuntil(b"0\r\n\r\n")
        elif (length := re.search(rb"content-length: (\d+)", answer)) is not None:
            await self._reader.readexactly(int(length[1]))


async def _follow(server: Server, path: str, messages: int, seen: list[float]) -> None:
    """Read a stream's events until all messages have arrived; record each message's age."""
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(f"GET {path}?offset=-1&live=sse HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
    left, rest = messages, b""
    while left:
        piece = await asyncio.wait_for(reader.read(65536), 30)
        if not piece:
            raise RuntimeError("the server ended a live stream")
        now = time.monotonic()
        rest += piece
        end = 0
        for match in _AT.finditer(rest):
            if match.end() == len(rest):
                break  # the last digits of this message may still be missing
            seen.append(now - float(match[1]))
            left -= 1
            end = match.end()
        rest = rest[end:]
    writer.close()
