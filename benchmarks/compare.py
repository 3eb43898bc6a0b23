"""Measure, under the same load, what a token costs each server, and how late the token arrives."""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.client import Received, follow, get
from benchmarks.cores import SERVER_CORE, busy_s
from benchmarks.server import Server, serving

_WARM_S = 0.7
_REST_S = 0.3

Found = dict[str, float | None]


class Comparison:
    """The results of each server, round by round.

    The servers take turns, so that other work of the machine affects all of them equally. A ratio
    compares two figures of the same round. The reported ratio is the median over all rounds.
    """

    def __init__(self) -> None:
        self._rounds: dict[str, list[Found]] = {}

    def add(self, server: str, found: Found) -> None:
        self._rounds.setdefault(server, []).append(found)

    def rows(self) -> dict[str, Found]:
        """Return, for each server, the medians over its rounds."""
        return {
            server: {key: _median([found[key] for found in rounds]) for key in rounds[0]}
            for server, rounds in self._rounds.items()
        }

    def ratio(self, of: str, to: str, key: str = "cpu") -> float:
        """Divide ``key`` of the server ``of`` by ``key`` of the server ``to``, as a median."""
        pairs = zip(self._rounds[of], self._rounds[to], strict=True)
        return median((a[key] or 0.0) / (b[key] or 1.0) for a, b in pairs)


def compare(
    servers: Mapping[str, Mapping[str, Any]], load: dict[str, Any], seconds: float, rounds: int
) -> Comparison:
    tokens = int(load["rate"] * (_WARM_S + seconds + _REST_S))
    comparison = Comparison()
    for _ in range(rounds):
        for name, spec in servers.items():
            comparison.add(name, _measure(spec, load | {"tokens": tokens}, seconds))
    return comparison


def _median(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return median(there) if there else None


def _measure(spec: Mapping[str, Any], load: dict[str, Any], seconds: float) -> Found:
    with serving(**spec, **load) as server:
        times: list[float] = []
        cpu: list[float] = []
        busy: list[float] = []

        def mark() -> None:
            cpu.append(server.cpu_s())
            busy.append(busy_s(SERVER_CORE))
            times.append(time.monotonic())

        paths = [f"/{n}" for n in range(load["streams"]) for _ in range(load["followers"])]
        received = follow(server, paths, 60, [(_WARM_S, mark), (_WARM_S + seconds, mark)])
        commits = check(server, spec["kind"], load, received)

    def inside(followers: list[Received]) -> list[tuple[float, float]]:
        pairs = [pair for follower in followers for pair in follower.tokens()]
        if len(pairs) != len(followers) * load["tokens"]:
            raise AssertionError("tokens were lost or came twice")
        return [pair for pair in pairs if times[0] <= pair[1] < times[1]]

    delivered = inside(received)
    # Some servers serve the first client of a stream from memory. So the first client is timed only
    # if the stream has no other client.
    each = load["followers"]
    joined = [one for at, one in enumerate(received) if at % each] if each > 1 else received
    token = sorted(here - made for made, here in inside(joined))
    socket = _commit_to_socket(delivered, commits)
    took, used = times[1] - times[0], cpu[1] - cpu[0]
    return {
        "cpu": used * 1e6 / len(delivered),
        "load %": 100 * used / took,
        "others %": 100 * max(0.0, busy[1] - busy[0] - used) / took,
        "token p50": quantile(token, 0.5),
        "token p99": quantile(token, 0.99),
        "commit-to-socket p99": quantile(socket, 0.99),
        "commits/s": len([1 for c in commits if times[0] <= c[0] < times[1]]) / seconds or None,
    }


def check(
    server: Server, kind: str, load: dict[str, Any], received: list[Received]
) -> list[tuple[float, float]]:
    """Check the text of every follower; return the times of inkstream's commits.

    For inkstream, compare each text with the stored text. For other servers, compare each text with
    the text of the stream's first follower.
    """
    followers = load["followers"]
    texts = [follower.text for follower in received]
    if kind == "inkstream":
        snapshots = follow(server, [f"/{n}?format=json" for n in range(load["streams"])], 60)
        bodies = [json.loads(s.content) for s in snapshots]
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
    """Return, sorted, the times from the end of a token's commit to the token's arrival."""
    began = [commit[0] for commit in commits]
    ages: list[float] = []
    for made, here in tokens:
        at = bisect_right(began, made)  # the first commit that began after the token existed
        if at < len(commits):
            ages.append(here - commits[at][1])
    return sorted(ages)


def quantile(values: list[float], share: float) -> float | None:
    """Return the quantile ``share`` of sorted seconds, in milliseconds."""
    return values[int(share * (len(values) - 1))] * 1e3 if values else None
