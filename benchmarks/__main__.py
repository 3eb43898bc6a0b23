"""Run one benchmark, or all of them: ``python -m benchmarks NAME [--json]``."""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable

from benchmarks import (
    death,
    durable,
    idle,
    overload,
    peers,
    readers,
    scaling,
    serve,
    storage,
    telemetry,
)
from benchmarks.cores import CLIENT_CORE, pin
from benchmarks.report import Report, environment

# For each benchmark, by name: its function, the seconds per measurement, the number of rounds.
BENCHMARKS: dict[str, tuple[Callable[[float, int], Report], float, int]] = {
    "serve-40": (serve.serve_40, 2.0, 2),
    "serve-40x5": (serve.serve_40x5, 2.0, 2),
    "serve-1000": (serve.serve_1000, 3.0, 2),
    "fanout": (readers.fanout, 2.0, 1),
    "catchup": (readers.catchup, 0.0, 1),
    "memory": (readers.memory, 0.0, 1),
    "wire": (readers.wire, 5.0, 1),
    "commit": (storage.commit, 4.0, 1),
    "flat": (storage.flat, 0.0, 1),
    "idle": (idle.idle, 20.0, 3),
    "file": (storage.file, 0.0, 1),
    "peers": (peers.peers, 2.0, 3),
    "overload": (overload.overload, 8.0, 1),
    "durable": (durable.durable, 3.0, 2),
    "death": (death.death, 0.0, 20),
    "scaling": (scaling.scaling, 5.0, 1),
    "telemetry": (telemetry.telemetry, 0.25, 100),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("name", choices=[*BENCHMARKS, "all"])
    parser.add_argument("--seconds", type=float, help="of one measurement")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    pin(CLIENT_CORE)
    if not arguments.json:
        print(", ".join(f"{name} {value}" for name, value in environment().items()))
    for name, (run, seconds, rounds) in BENCHMARKS.items():
        if arguments.name in (name, "all"):
            report = run(arguments.seconds or seconds, arguments.rounds or rounds)
            print(report.json() if arguments.json else report.table(), flush=True)


if __name__ == "__main__":
    main()
