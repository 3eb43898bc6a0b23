"""CPU time per token of two checkouts: ``python -m benchmarks.tokens --before TREE [--rounds N]``.

Both checkouts run at the same moment, each on a core of its own, and change cores after each round.
Runs one after the other may differ by 10 % and more, because the clock of the CPU changes and other
programs run. Two runs at the same moment meet the same conditions.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import Report

ROOT = Path(__file__).parents[1]
WORKER = Path(__file__).with_name("tokens_worker.py")


@dataclass(frozen=True, slots=True)
class Load:
    """A number of streams, each with one reader. ``rate`` is in tokens per second per stream."""

    name: str
    streams: int
    rate: int
    latency_window_s: float = 0.0


LOADS = (
    Load("40 x 50", 40, 50),
    Load("1,000 x 10", 1_000, 10),
    # With 50 ms between commits, each commit of a stream has several tokens.
    Load("100 x 60, 50 ms apart", 100, 60, 0.05),
)


def start(tree: Path, core: int, load: Load, seconds: float) -> subprocess.Popen[str]:
    numbers = (load.streams, load.rate, seconds, load.latency_window_s)
    return subprocess.Popen(
        ["taskset", "-c", str(core), sys.executable, str(WORKER), *map(str, numbers)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{tree}/src"},
    )


def measure(trees: tuple[Path, Path], load: Load, seconds: float, rounds: int) -> dict[str, Any]:
    """Return each tree's median CPU time per token, and the median, least and largest ratio."""
    pairs: list[tuple[list[float], ...]] = []
    for turn in range(rounds):
        cores = (turn % 2, 1 - turn % 2)
        workers = [
            start(tree, core, load, seconds) for tree, core in zip(trees, cores, strict=True)
        ]
        outputs = [worker.communicate(timeout=10 * seconds + 60)[0] for worker in workers]
        assert not any(worker.returncode for worker in workers), outputs
        pairs.append(tuple([float(number) for number in output.split()] for output in outputs))
        print(load.name, *pairs[-1], file=sys.stderr, flush=True)
    before, after = ([pair[side] for pair in pairs] for side in (0, 1))
    ratios = [pair[1][0] / pair[0][0] for pair in pairs]
    loop = [pair[1][1] / pair[0][1] for pair in pairs]
    return {
        "load": load.name,
        "before, us": statistics.median(total for total, _ in before),
        "after, us": statistics.median(total for total, _ in after),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "loop's thread": statistics.median(loop),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.tokens", description=__doc__)
    parser.add_argument("--before", type=Path, required=True, help="a checkout to compare with")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    trees = (options.before.resolve(), ROOT)
    report = Report("CPU time per delivered token: claims and ends count, creates do not")
    report.rows = [measure(trees, load, options.seconds, options.rounds) for load in LOADS]
    print(report.json() if options.json else report.table(), flush=True)


if __name__ == "__main__":
    main()
