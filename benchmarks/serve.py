"""Compares the cost of a delivered token with the cost on servers that store nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.compare import Comparison, compare
from benchmarks.report import Report

SQLITE: dict[str, Any] = {"kind": "inkstream", "database": "sqlite"}
MEMORY: dict[str, Any] = {"kind": "inkstream", "database": "memory://"}
_POINTS: dict[str, dict[str, Any]] = {
    "inkstream, SQLite": SQLITE,
    "inkstream, memory": MEMORY,
    "inkstream, SQLite, 50 ms": {**SQLITE, "window_s": 0.05},
    "inkstream, memory, 50 ms": {**MEMORY, "window_s": 0.05},
}


def serve_40(seconds: float, rounds: int) -> Report:
    """Measure a quiet server: 40 streams of 50 tokens a second, with one follower each."""
    servers = {**_POINTS, "raw ASGI": {"kind": "raw"}, "StreamingResponse": {"kind": "starlette"}}
    report, found = _compare(servers, {"streams": 40, "followers": 1}, seconds, rounds)
    _both_points(report, found)
    return report


def serve_40x5(seconds: float, rounds: int) -> Report:
    """Measure 40 streams of 50 tokens a second, with five followers each."""
    servers = {**_POINTS, "StreamingResponse + queues": {"kind": "queues"}}
    report, found = _compare(servers, {"streams": 40, "followers": 5}, seconds, rounds)
    _both_points(report, found)
    return report


def serve_1000(seconds: float, rounds: int) -> Report:
    """Measure a busy server: 1,000 streams of 50 tokens a second, with one follower each."""
    servers = {
        "inkstream, SQLite": SQLITE,
        "inkstream, memory": MEMORY,
        "raw ASGI": {"kind": "raw"},
        "StreamingResponse": {"kind": "starlette"},
    }
    report, found = _compare(servers, {"streams": 1000, "followers": 1}, seconds, rounds)
    _durable(report, found, "throughput point", "", "<= 1.1")
    row = found.rows()["inkstream, SQLite"]
    report.ratios += [
        (
            "tokens per CPU second / raw ASGI",
            found.ratio("raw ASGI", "inkstream, SQLite"),
            ">= 1.5",
        ),
        ("commit-to-socket p99, ms", row["commit-to-socket p99"] or 0.0, "<= 20"),
        ("token p99, ms", row["token p99"] or 0.0, "<= 120"),
    ]
    return report


def _both_points(report: Report, found: Comparison) -> None:
    _durable(report, found, "latency point", "", "<= 2")
    _durable(report, found, "throughput point", ", 50 ms", "<= 1.3")


def _durable(report: Report, found: Comparison, point: str, of: str, target: str) -> None:
    ratio = found.ratio(f"inkstream, SQLite{of}", f"inkstream, memory{of}")
    report.ratios.append((f"{point}: durable / not", ratio, target))


def _compare(
    servers: Mapping[str, Mapping[str, Any]], load: dict[str, Any], seconds: float, rounds: int
) -> tuple[Report, Comparison]:
    found = compare(servers, {**load, "rate": 50.0}, seconds, rounds)
    report = Report(
        f"{load['streams']:,} streams x 50 tokens/s, {load['followers']} follower(s) each; "
        f"{rounds} rounds of {seconds:g} s; CPU us per delivered token, latencies in ms"
    )
    report.rows += [{"server": name, **row} for name, row in found.rows().items()]
    return report, found
