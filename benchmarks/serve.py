"""What a delivered token costs the server, against servers that keep nothing."""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.client import Received, follow, get
from benchmarks.report import Report
from benchmarks.server import Server, serving

_WARM_S = 0.7
_REST_S = 0.3

_Found = dict[str, float | None]

_SQLITE = {"kind": "inkstream", "database": "sqlite"}
_MEMORY = {"kind": "inkstream", "database": "memory://"}


def serve_40(seconds: float, rounds: int) -> Report:
    """Measure 40 streams of 50 tokens a second with a follower each: the quiet server."""
    report, cpu = _compare(
        {
            "inkstream, SQLite": _SQLITE,
            "inkstream, memory": _MEMORY,
            "inkstream, SQLite, 50 ms": {**_SQLITE, "window_s": 0.05},
            "inkstream, memory, 50 ms": {**_MEMORY, "window_s": 0.05},
            "raw ASGI": {"kind": "raw"},
            "StreamingResponse": {"kind": "starlette"},
        },
        {"streams": 40, "followers": 1, "rate": 50.0},
        seconds,
        rounds,
    )
    _durable(report, cpu, "latency point: durable / not", "", "<= 2")
    _durable(report, cpu, "throughput point: durable / not", ", 50 ms", "<= 1.3")
    return report


def serve_40x5(seconds: float, rounds: int) -> Report:
    """Measure the same with five followers each."""
    report, cpu = _compare(
        {
            "inkstream, SQLite": _SQLITE,
            "inkstream, memory": _MEMORY,
            "inkstream, SQLite, 50 ms": {**_SQLITE, "window_s": 0.05},
            "inkstream, memory, 50 ms": {**_MEMORY, "window_s": 0.05},
            "StreamingResponse + queues": {"kind": "queues"},
        },
        {"streams": 40, "followers": 5, "rate": 50.0},
        seconds,
        rounds,
    )
    _durable(report, cpu, "latency point: durable / not", "", "<= 2")
    _durable(report, cpu, "throughput point: durable / not", ", 50 ms", "<= 1.3")
    return report


def serve_1000(seconds: float, rounds: int) -> Report:
    """Measure 1,000 streams of 50 tokens a second with a follower each: the busy server."""
    report, cpu = _compare(
        {
            "inkstream, SQLite": _SQLITE,
            "inkstream, memory": _MEMORY,
            "raw ASGI": {"kind": "raw"},
            "StreamingResponse": {"kind": "starlette"},
        },
        {"streams": 1000, "followers": 1, "rate": 50.0},
        seconds,
        rounds,
    )
    _durable(report, cpu, "throughput point: durable / not", "", "<= 1.1")
    report.ratios += [
        ("tokens per CPU second / raw ASGI", cpu["raw ASGI"] / cpu["inkstream, SQLite"], ">= 1.5"),
        *[
            (f"{what} p99, ms", row[f"{what} p99"], target)
            for row in report.rows
            if row["server"] == "inkstream, SQLite"
            for what, target in (("commit-to-socket", "<= 20"), ("token", "<= 120"))
        ],
    ]
    return report


def _durable(report: Report, cpu: Mapping[str, float], name: str, of: str, target: str) -> None:
    durable, not_durable = cpu[f"inkstream, SQLite{of}"], cpu[f"inkstream, memory{of}"]
    report.ratios.append((name, durable / not_durable, target))


def _compare(
    servers: Mapping[str, Mapping[str, Any]], load: dict[str, Any], seconds: float, rounds: int
) -> tuple[Report, dict[str, float]]:
    """Measure servers in turn, several times over; a figure is the median of its rounds."""
    tokens = int(load["rate"] * (_WARM_S + seconds + _REST_S))
    found: dict[str, list[_Found]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            found[name].append(_measure(server, load | {"tokens": tokens}, seconds))
    report = Report(
        f"{load['streams']:,} streams x {load['rate']:.0f} tokens/s, "
        f"{load['followers']} follower(s) each; {rounds} rounds of {seconds:g} s; "
        "CPU us per delivered token, latencies in ms"
    )
    cpu: dict[str, float] = {}
    for name, runs in found.items():
        mid = {key: _median([run[key] for run in runs]) for key in runs[0]}
        cpu[name] = mid["cpu"] or 0.0
        report.rows.append({"server": name, **mid})
    return report, cpu


def _median(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return median(there) if there else None


def _measure(spec: Mapping[str, Any], load: dict[str, Any], seconds: float) -> _Found:
    with serving(**spec, **load) as server:
        times: list[float] = []
        cpu: list[float] = []

        def mark() -> None:
            cpu.append(server.cpu_s())
            times.append(time.monotonic())

        paths = [f"/{n}" for n in range(load["streams"]) for _ in range(load["followers"])]
        received = follow(server, paths, 60, [(_WARM_S, mark), (_WARM_S + seconds, mark)])
        commits = _check(server, spec["kind"], load, received)
    made_and_here = [pair for follower in received for pair in follower.tokens()]
    if len(made_and_here) != len(received) * load["tokens"]:
        raise AssertionError("tokens were lost or came twice")
    inside = [pair for pair in made_and_here if times[0] <= pair[1] < times[1]]
    token = sorted(here - made for made, here in inside)
    socket = _commit_to_socket(inside, commits)
    return {
        "cpu": (cpu[1] - cpu[0]) * 1e6 / len(inside),
        "load %": 100 * (cpu[1] - cpu[0]) / (times[1] - times[0]),
        "token p50": _quantile(token, 0.5),
        "token p99": _quantile(token, 0.99),
        "commit-to-socket p99": _quantile(socket, 0.99),
        "commits/s": len([1 for c in commits if times[0] <= c[0] < times[1]]) / seconds or None,
    }


def _check(
    server: Server, kind: str, load: dict[str, Any], received: list[Received]
) -> list[tuple[float, float]]:
    """Compare every follower's text with what is kept; return when commits began and returned."""
    followers = load["followers"]
    texts = [follower.text for follower in received]
    if kind == "inkstream":
        snapshots = follow(server, [f"/{n}?format=json" for n in range(load["streams"])], 60)
        bodies = [json.loads(s.body.partition(b"\r\n\r\n")[2]) for s in snapshots]
        if any(body["status"] != "done" for body in bodies):
            raise AssertionError("a stream did not end as it should")
        kept = ["".join(body["parts"]) for body in bodies]
    else:
        kept = texts[::followers]
    if texts != [text for text in kept for _ in range(followers)]:
        raise AssertionError("a follower's text is not the stream's")
    if kind != "inkstream":
        return []
    lines = get(server, "/commits").decode().splitlines()
    return [(float(began), float(returned)) for began, returned in map(str.split, lines)]


def _commit_to_socket(
    tokens: list[tuple[float, float]], commits: list[tuple[float, float]]
) -> list[float]:
    """Return how long each token took from the return of its commit to its receiver."""
    began = [commit[0] for commit in commits]
    ages: list[float] = []
    for made, here in tokens:
        at = bisect_right(began, made)  # the first commit that began when it was there
        if at < len(commits):
            ages.append(here - commits[at][1])
    return sorted(ages)


def _quantile(values: list[float], share: float) -> float | None:
    """Return a quantile of sorted seconds, in milliseconds."""
    return values[int(share * (len(values) - 1))] * 1e3 if values else None
