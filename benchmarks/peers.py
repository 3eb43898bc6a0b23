"""Compares inkstream with other libraries: the cost and the delay of a token of a live stream.

One client starts each stream, and a number of followers join the stream. The benchmark fails if two
clients of a stream get different texts.
"""

from __future__ import annotations

from typing import Any

from benchmarks import node, redis_server
from benchmarks.compare import Comparison, compare
from benchmarks.report import Report
from benchmarks.serve import MEMORY, SQLITE

_LATENCY = "inkstream, SQLite, latency"
_THROUGHPUT = "inkstream, SQLite, throughput"
_NODE = "resumable-stream, Node + Redis"
_PORT = "resumable-stream, Python + Redis"
_XREAD = "XADD + XREAD, Redis"
_QUEUES = "Starlette + queues, keeps nothing"

_INKSTREAM: dict[str, dict[str, Any]] = {
    _LATENCY: SQLITE,
    _THROUGHPUT: {**SQLITE, "window_s": 0.05},
    "inkstream, memory, latency": MEMORY,
}
_PEERS: dict[str, dict[str, Any]] = {
    _NODE: {"kind": "resumable-stream.js", "database": "redis"},
    _PORT: {"kind": "resumable", "database": "redis"},
    _XREAD: {"kind": "xread", "database": "redis"},
    _QUEUES: {"kind": "queues"},
}
# No client can join a stream of these servers, so they show only the cost of sending.
_ALONE: dict[str, dict[str, Any]] = {
    "sse-starlette": {"kind": "sse_starlette"},
    "StreamingResponse": {"kind": "starlette"},
    "raw ASGI": {"kind": "raw"},
}

_SHOWN = ("cpu", "load %", "others %", "token p50", "token p99")

# The least ratio of a peer's cost to inkstream's cost, if the streams have followers. The first
# number is for the latency point (inkstream chooses the time between two commits). The second
# number is for the throughput point (at least 50 ms between two commits). In all other
# cases, the least ratio is 1.
_AIMS = {_NODE: (1.5, 3.0), _PORT: (3.0, 5.0), _XREAD: (3.0, 5.0)}


def peers(seconds: float, rounds: int) -> Report:
    """Measure 40 streams of 50 tokens a second, with no, one and five followers each."""
    report = Report(
        "40 streams x 50 tokens/s, one client that asks and so many followers; "
        f"{rounds} rounds of {seconds:g} s; CPU us of app and store per delivered token; ms from "
        "a token's making to a follower (with none: to who asks)"
    )
    there = dict(_PEERS)
    if not redis_server.is_installed():
        names = ", ".join(name for name, spec in _PEERS.items() if "database" in spec)
        report.notes.append(f"left out: {names}; {redis_server.MISSING}")
        there = {_QUEUES: _PEERS[_QUEUES]}
    elif not node.is_installed():
        report.notes.append(f"left out: {_NODE}; Node.js could not be set up")
        del there[_NODE]
    for followers in (0, 1, 5):
        servers = _INKSTREAM | there | (_ALONE if followers == 0 else {})
        load = {"streams": 40, "followers": 1 + followers, "rate": 50.0}
        found = compare(servers, load, seconds, rounds)
        for name, row in found.rows().items():
            report.rows.append(
                {"server": name, "followers": followers} | {key: row[key] for key in _SHOWN}
            )
        _aim(report, found, list(there), followers)
    return report


def _aim(report: Report, found: Comparison, peers: list[str], followers: int) -> None:
    for peer in peers:
        aims = _AIMS[peer] if followers and peer in _AIMS else (1.0, 1.0)
        for point, aim in zip((_LATENCY, _THROUGHPUT), aims, strict=True):
            name = f"{followers} followers, CPU: {peer} / {point}"
            report.ratios.append((name, found.ratio(peer, point), f">= {aim:g}"))
    if followers < 5:
        return
    late = found.rows()[_LATENCY]["token p99"] or 0.0
    report.ratios.append((f"5 followers, token p99, ms: {_LATENCY}", late, "<= 15"))
    for peer in peers:
        name = f"5 followers, token p99: {peer} / {_LATENCY}"
        report.ratios.append((name, found.ratio(peer, _LATENCY, "token p99"), ">= 1"))
