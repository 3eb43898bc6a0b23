"""Measures throughput, delay and memory while generators are faster than the server."""

from __future__ import annotations

import time
from array import array
from typing import Any

from benchmarks.client import follow
from benchmarks.compare import check, quantile
from benchmarks.report import Report
from benchmarks.serve import SQLITE
from benchmarks.server import serving

_NEVER_WAITING = 1e6
_WARM_S = 2.0
_REST_S = 2.0
# This limit is small, so that the tails are full after half of the time, and memory stops growing.
_TAIL_BYTES = 16 * 1024


def overload(seconds: float, rounds: int) -> Report:
    """Measure generators that would make twice as many tokens as the server can send.

    The server makes these generators wait.
    """
    report = Report(
        "SQLite, one follower a stream, generators at twice what is carried when they never wait; "
        f"{seconds:g} s, tails of {_TAIL_BYTES // 1024} KiB; ms from a token's making, and MB"
    )
    for streams in (40, 1000):
        most = _carry(streams, _NEVER_WAITING, 2.0)["carried/s"]
        row = _carry(streams, 2 * most / streams, seconds)
        report.rows.append({"streams": streams, "wanted/s": 2 * most} | row)
        report.ratios += [
            (f"{streams:,} streams: token p99, ms", row["token p99"], "<= 250"),
            (f"{streams:,} streams: memory, end / half", row["end"] / row["half"], "<= 1.1"),
        ]
    return report


def _carry(streams: int, rate: float, seconds: float) -> dict[str, Any]:
    """Let every follower read its stream to the end; compare the texts with the stored texts."""
    total = _WARM_S + seconds + _REST_S
    load: dict[str, Any] = {"streams": streams, "followers": 1, "rate": rate}
    load |= {"tokens": int(rate * total), "seconds": total}
    with serving(**SQLITE, **load, tail_bytes=_TAIL_BYTES) as server:
        at: list[float] = []
        memory: list[float] = []

        def mark() -> None:
            at.append(time.monotonic())
            memory.append(server.memory_bytes() / 1e6)

        marks = [(_WARM_S + seconds * share, mark) for share in (0.0, 0.5, 1.0)]
        received = follow(server, [f"/{n}" for n in range(streams)], 60, marks)
        check(server, "inkstream", load, received)
    ages = array("d")
    for follower in received:
        ages.extend(here - made for made, here in follower.tokens() if at[0] <= here < at[-1])
    ordered = sorted(ages)
    return {
        "carried/s": len(ages) / (at[-1] - at[0]),
        "token p50": quantile(ordered, 0.5),
        "token p99": quantile(ordered, 0.99),
        "begin": memory[0],
        "half": memory[1],
        "end": memory[2],
    }
