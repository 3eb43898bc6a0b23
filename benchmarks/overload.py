"""Generators that are faster than the server: what it still carries, how late, in what memory."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.client import follow
from benchmarks.compare import check, quantile
from benchmarks.report import Report
from benchmarks.serve import SQLITE
from benchmarks.server import serving

_WARM_S = 1.0
_SAMPLES = 8


def overload(seconds: float, rounds: int) -> Report:
    """Measure generators that make twice what the server carries when they never wait."""
    report = Report(
        f"SQLite, generators at twice what is carried when they never wait, {seconds:g} s; ms"
    )
    for streams in (40, 1000):
        load = {"streams": streams, "followers": 1}
        most = _carry(load | {"rate": 1e9, "tokens": 400_000 // streams}, 1.0)["carried/s"]
        rate = 2 * most / streams
        row = _carry(load | {"rate": rate, "tokens": int(most * (seconds + _WARM_S)) // streams}, seconds)
        report.rows.append({"streams": streams, "made/s": rate * streams, **row})
    return report


def _carry(load: dict[str, Any], seconds: float) -> dict[str, float]:
    with serving(**SQLITE, **load) as server:
        memory: list[tuple[float, int]] = []

        def mark() -> None:
            memory.append((time.monotonic(), server.memory_bytes()))

        marks = [(_WARM_S + seconds * i / _SAMPLES, mark) for i in range(_SAMPLES + 1)]
        paths = [f"/{n}" for n in range(load["streams"])]
        received = follow(server, paths, 120, marks)
        check(server, "inkstream", load, received)
    print([(round(t-memory[0][0],2), m/1e6) for t,m in memory])
    streams = [follower.tokens() for follower in received]
    print(len(streams[0]), load)
    since, until = memory[0][0], memory[-1][0]
    made = sorted(h - m for s in streams for m, h in s if since <= h < until)
    # A late generator makes the next one as soon as this one was accepted.
    accepted = sorted(
        here - after
        for pairs in streams
        for (_, here), (after, _) in zip(pairs, pairs[1:])
        if since <= here < until
    )
    return {
        "carried/s": len(made) / (until - since),
        "p50": quantile(made, 0.5),
        "p99": quantile(made, 0.99),
        "p99 accepted": quantile(accepted, 0.99),
        "memory": memory[0][1] / 1e6,
        "memory end": memory[-1][1] / 1e6,
    }
