"""Measures the cost of metrics and traces: CPU per token, with and without an observer.

The benchmark runs one process with SQLite and one raw ASGI reader for each stream. While the
streams flow, the observer is switched on and off in turns, each for a fraction of a second, so that
other work of the machine affects both kinds of turns equally. The ratio *more CPU* compares the
medians of both kinds.
"""

from __future__ import annotations

import asyncio
import gc
import random
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from benchmarks.report import Report
from inkstream import PersistentTextStreaming
from inkstream.engine.observers import Observers
from inkstream.telemetry import OpenTelemetry

POINTS: Final = ((40, 50.0), (1000, 10.0))
"""The number of streams, and the tokens per second of each stream."""

_WARM_S: Final = 3.0
_ANSWERS: Final = 300
_RESAMPLES: Final = 1000


def telemetry(seconds: float, rounds: int) -> Report:
    """Measure both ``POINTS`` while streams flow, and also the cost of a short answer."""
    report = Report(f"metrics and traces; {rounds} turns of {seconds:g} s; CPU us per token")
    for streams, rate in POINTS:
        found, inside = asyncio.run(_flow(streams, rate, seconds, rounds))
        _enter(report, f"{streams} x {rate:g} tokens/s", found, inside)
    costs = {o: median(asyncio.run(_answers(o)) for _ in range(5)) for o in (False, True)}
    extra_us = (costs[True] - costs[False]) * 1e6
    report.notes.append(
        f"claim, span and end of an answer: {extra_us:.0f} us beside {costs[False] * 1e6:.0f}"
    )
    return report


def _enter(report: Report, point: str, found: dict[bool, list[float]], inside: float) -> None:
    for observed, values in found.items():
        quarter, middle, three = quantiles(values, n=4)
        report.rows.append(
            {
                "point": f"{point}, {'with' if observed else 'without'}",
                "median": middle * 1e6,
                "quartiles": f"{quarter * 1e6:.1f} - {three * 1e6:.1f}",
            }
        )
    low, middle, high = _pairs(found)
    share = 100 * (median(found[True]) / median(found[False]) - 1)
    report.ratios.append((f"{point}: more CPU, %", share, "<= 2"))
    report.ratios.append((f"{point}: CPU inside the observer, %", 100 * inside, "<= 2"))
    report.notes.append(
        f"{point}: neighbours {middle:.1f} % apart in the median, resampled {low:.1f} to {high:.1f}"
    )


def _pairs(found: dict[bool, list[float]]) -> tuple[float, float, float]:
    """Return the median difference of the pairs, and the range of 90 % of resampled medians.

    A pair is a turn with the observer and a turn without it, one directly after the other, so that
    other work of the machine affects both. The differences are percentages.
    """
    shares = [100 * (b / a - 1) for a, b in zip(found[False], found[True], strict=True)]
    rng = random.Random(1)
    again = sorted(median(rng.choices(shares, k=len(shares))) for _ in range(_RESAMPLES))
    return again[_RESAMPLES // 20], median(shares), again[-_RESAMPLES // 20]


def _observer() -> OpenTelemetry:
    """Return an observer with the OpenTelemetry SDK; without an SDK, an observer does no work."""
    meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    return OpenTelemetry(
        meter_provider=meters, tracer_provider=TracerProvider(shutdown_on_exit=False)
    )


def _instance(folder: str, observed: bool) -> PersistentTextStreaming:
    url = f"sqlite:///{Path(folder) / 'bench.db'}"
    return PersistentTextStreaming(url, observer=_observer() if observed else None)


async def _flow(
    streams: int, rate: float, seconds: float, rounds: int
) -> tuple[dict[bool, list[float]], float]:
    """Return the CPU seconds per token of each turn, and the CPU share of the observer's calls.

    The turns are grouped by whether the observer was on. Other work of the machine hardly affects
    the share. But the share does not include the effect of the calls on the processor's caches.
    """
    given = 0
    stop = False

    def source(number: int) -> Any:
        async def answer() -> Any:
            nonlocal given
            due = time.monotonic() + number / streams / rate
            while not stop:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                given += 1
                yield "a token "
                due += 1 / rate

        return answer

    found: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        async with _instance(folder, observed=True) as ink:
            observers = ink.engine.observer
            assert isinstance(observers, Observers)
            both, logs = observers._takers, Observers(observers._observers[0])._takers
            app = ink.asgi(allow_anonymous=True)
            for number in range(streams):
                ink.start(await ink.create(f"s{number}"), source(number))
            reading = [asyncio.create_task(_read(app, f"s{number}")) for number in range(streams)]
            await asyncio.sleep(_WARM_S)
            gc.collect()
            gc.freeze()
            for turn in range(2 * rounds):
                observed = turn % 4 in (1, 2)  # observed turns are first in half of the pairs
                observers._takers = both if observed else logs
                before, cpu = given, time.process_time()
                await asyncio.sleep(seconds)
                found[observed].append((time.process_time() - cpu) / (given - before))
            observers._takers = _timed(both, spent := [0.0])
            cpu = time.process_time()
            await asyncio.sleep(seconds * rounds / 4)
            inside = spent[0] / (time.process_time() - cpu)
            gc.unfreeze()
            stop = True
            for size in await asyncio.gather(*reading):
                if size == 0:
                    raise AssertionError("a reader got nothing")
    return found, inside


def _timed(takers: dict[str, tuple[Any, ...]], spent: list[float]) -> dict[str, tuple[Any, ...]]:
    """Return the observers' methods, wrapped so that they add their CPU time to ``spent``."""

    def timed(taker: Any) -> Any:
        def call(*arguments: object) -> None:
            began = time.thread_time()
            taker(*arguments)
            spent[0] += time.thread_time() - began

        return call

    return {event: tuple(map(timed, some)) for event, some in takers.items()}


async def _answers(observed: bool) -> float:
    """Return the CPU seconds of an answer of one piece."""

    async def answer() -> Any:
        yield "text"

    with tempfile.TemporaryDirectory() as folder:
        async with _instance(folder, observed) as ink:
            names = [await ink.create() for _ in range(_ANSWERS)]
            cpu = time.process_time()
            for name in names:
                ink.start(name, answer)
            for name in names:
                await ink.wait(name)
            return (time.process_time() - cpu) / _ANSWERS


async def _read(app: Any, name: str) -> int:
    size = 0

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        nonlocal size
        size += len(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": f"/{name}",
        "raw_path": f"/{name}".encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"bench")],
        "client": None,
        "server": None,
        "state": {},
    }
    await app(scope, receive, send)
    return size
