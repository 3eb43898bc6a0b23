"""Measures the cost of many readers, idle readers and late readers, and the bytes that they get."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

from benchmarks.client import follow, get
from benchmarks.report import Report
from benchmarks.server import Server, serving
from inkstream import PersistentTextStreaming, Timing

_WARM_S = 0.7
_MEGABYTE = 1_000_000
_GETS = 20
_IDLE = 500
_IDLE_S = 0.5
_SEED_BYTES_A_TOKEN = 2_020_000 / 4_000


def fanout(seconds: float, rounds: int) -> Report:
    """Measure one stream with 10, 100 and 1,000 followers.

    At the point ``latency``, most tokens have a send of their own. At the point ``50 ms``, at least
    50 ms pass between two commits, so that several tokens share a send.
    """
    report = Report(f"one stream to many followers; {seconds:g} s; memory://")
    report.notes.append("per CPU second of the server; 50 ms: tokens that share a send")
    for followers, rate, window_s in (
        (10, 100.0, None),
        (100, 100.0, None),
        (1000, 20.0, None),
        (1000, 400.0, 0.05),
    ):
        load = {"streams": 1, "followers": followers, "rate": rate}
        found = max(_fan_out(load, window_s, seconds) for _ in range(rounds))
        point = "latency" if window_s is None else "50 ms"
        report.rows.append(
            {"followers": followers, "tokens/s": rate, "point": point, "deliveries/CPU s": found}
        )
        name = f"deliveries per CPU second, {followers:,} followers, {point}"
        report.ratios.append((name, found, ">= 90000" if window_s is None else ">= 1000000"))
    return report


def _fan_out(load: dict[str, Any], window_s: float | None, seconds: float) -> float:
    tokens = int(load["rate"] * (_WARM_S + seconds + 0.3))
    settings = {"database": "memory://", "window_s": window_s, "tokens": tokens, **load}
    with serving("inkstream", **settings) as server:
        cpu: list[tuple[float, float]] = []

        def mark() -> None:
            cpu.append((server.cpu_s(), time.monotonic()))

        paths = ["/0"] * load["followers"]
        received = follow(server, paths, 60, [(_WARM_S, mark), (_WARM_S + seconds, mark)])
    if len({follower.text for follower in received}) != 1:
        raise AssertionError("followers of one stream have different texts")
    (begin, since), (end, until) = cpu
    here = [here for follower in received for _, here in follower.tokens()]
    return len([1 for at in here if since <= at < until]) / (end - begin)


def memory(seconds: float, rounds: int) -> Report:
    """Compare the memory of an idle connection to inkstream and to a raw ASGI app."""
    report = Report(f"memory of a connection, {_IDLE} idle followers; KB")
    cost: dict[str, float] = {}
    specs: dict[str, dict[str, Any]] = {
        "inkstream, one stream": {"kind": "inkstream", "database": "memory://"},
        "raw ASGI": {"kind": "raw"},
    }
    for name, spec in specs.items():
        # The server waits for more followers than this benchmark opens, so it never sends a token.
        with serving(**spec, streams=1, followers=_IDLE + 100, tokens=1) as server:
            first = _hold(server, 50)  # the first connections allocate memory for all
            before = server.memory_bytes()
            others = _hold(server, _IDLE)
            cost[name] = (server.memory_bytes() - before) / _IDLE / 1e3
            for connection in [*first, *others]:
                connection.close()
        report.rows.append({"server": name, "KB/connection": cost[name]})
    ratio = cost["inkstream, one stream"] / cost["raw ASGI"]
    report.ratios.append(("memory / raw ASGI", ratio, "<= 1.2"))
    return report


def _hold(server: Server, count: int) -> list[socket.socket]:
    held: list[socket.socket] = []
    for _ in range(count):
        connection = socket.create_connection(server.address, timeout=30)
        connection.sendall(b"GET /0 HTTP/1.1\r\nhost: bench\r\n\r\n")
        connection.recv(65536)
        held.append(connection)
    return held


def catchup(seconds: float, rounds: int) -> Report:
    """Measure sending a stored megabyte, compared with sending a body from memory."""
    report = Report(f"{_GETS} catch-ups of 1 MB, SQLite; server CPU ms each, less idling")
    cost: dict[str, float] = {}
    with serving("static", size=_MEGABYTE) as server:
        cost["static response"] = _per_get(server, lambda: get(server, "/0"))
    with serving("archive", database="sqlite", size=_MEGABYTE) as server:
        get(server, "/ready")
        cost["finished, events"] = _per_get(server, lambda: follow(server, ["/0"], 30))
        cost["finished, text"] = _per_get(server, lambda: follow(server, ["/0?format=text"], 30))
        cost["live, events"] = _per_get(server, lambda: _read_live(server))
    report.rows += [{"what": name, "ms": ms} for name, ms in cost.items()]
    static = cost["static response"]
    report.ratios += [
        ("finished: static / inkstream", static / cost["finished, events"], ">= 0.8"),
        ("live: static / inkstream", static / cost["live, events"], ">= 0.4"),
    ]
    return report


def _per_get(server: Server, call: Callable[[], object]) -> float:
    call()
    # The process uses CPU also without calls. This use is measured first, and then subtracted in
    # proportion to the time of the calls.
    before, began = server.cpu_s(), time.monotonic()
    time.sleep(_IDLE_S)
    idle = (server.cpu_s() - before) / (time.monotonic() - began)
    before, began = server.cpu_s(), time.monotonic()
    for _ in range(_GETS):
        call()
    cpu = server.cpu_s() - before - idle * (time.monotonic() - began)
    return cpu / _GETS * 1e3


def _read_live(server: Server) -> None:
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(b"GET /1 HTTP/1.1\r\nhost: bench\r\n\r\n")
        got = 0
        while got < _MEGABYTE:
            got += len(connection.recv(262144))


def wire(seconds: float, rounds: int) -> Report:
    """Measure the bytes that a follower of an answer of 50 tokens a second gets."""
    report = Report(
        f"bytes on the wire of a follower, 5-byte tokens, 50/s for {seconds:g} s, "
        "as for 4,000 tokens"
    )
    for point, timing in (
        ("latency", Timing()),
        ("50 ms", Timing(latency_window_s=0.05)),
    ):
        total = asyncio.run(_wire(timing, seconds)) * 4_000
        report.rows.append({"point": point, "bytes": round(total), "x text": total / 20_000})
        share = total / (_SEED_BYTES_A_TOKEN * 4_000)
        report.ratios.append((f"{point}: share of the seed's 2.02 MB", share, "<= 0.0588"))
    report.notes.append("HTTP chunk framing counted, TCP and TLS not")
    return report


async def _wire(timing: Timing, seconds: float) -> float:
    """Return bytes per token."""
    tokens = int(50 * seconds)

    async def answer() -> Any:
        began = time.monotonic()
        for i in range(tokens):
            await asyncio.sleep(max(0.0, began + i / 50 - time.monotonic()))
            yield "word "

    async with PersistentTextStreaming("memory://", timing=timing) as streams:
        stream_id = await streams.create()
        reader = await streams.engine.readers.open(stream_id, None)
        streams.start(stream_id, answer)
        got = 0
        while reader.end is None:
            frames = await reader.frames()
            if frames:
                got += len(frames) + len(f"{len(frames):x}") + 4
        reader.close()
    return got / tokens
