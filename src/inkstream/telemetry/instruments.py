"""The metrics with their names, units and labels; docs/operations.md has the same list.

No label contains an id, an owner or text, because each value of a label costs memory. After
``CODES`` different values of the label ``code``, each further value becomes ``other``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation

CODES: Final = 32

_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600)
_COUNTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Instruments:
    """Create all instruments on a meter.

    ``numbers`` returns the current values of gauges and totals, by name.
    """

    def __init__(self, meter: Meter, numbers: Callable[[], dict[str, int]]) -> None:
        def seconds(name: str, description: str, buckets: Iterable[float] = _SECONDS) -> Any:
            return meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=list(buckets)
            )

        def count(name: str, unit: str, description: str) -> Any:
            return meter.create_counter(name, unit, description)

        self.first_piece = seconds(
            "inkstream.stream.first_piece", "From the claim to the first committed piece", _LONG
        )
        self.duration = seconds("inkstream.stream.duration", "From the claim to the end", _LONG)
        self.ends = count("inkstream.stream.ends", "{stream}", "Ends, by status and code")
        self.commit = seconds(
            "inkstream.commit.duration", "How long a commit takes; measured about 8 times a second"
        )
        self.batch = meter.create_histogram(
            "inkstream.commit.streams",
            "{stream}",
            "Streams in a commit; measured about 8 times a second",
            explicit_bucket_boundaries_advisory=list(_COUNTS),
        )
        self.send = seconds(
            "inkstream.send.delay", "From a commit to its send; measured about 8 times a second"
        )
        self.errors = count("inkstream.store.errors", "{error}", "Commits that failed")
        self.away = seconds("inkstream.store.away", "How long the store was away", _LONG)
        self.fenced = count("inkstream.writers.fenced", "{writer}", "Writers that lost a stream")
        self.dead = count("inkstream.workers.dead", "{worker}", "Dead workers that had streams")
        self.sweep = seconds("inkstream.sweep.duration", "How long a search for dead workers takes")
        self.tidy = seconds("inkstream.tidy.duration", "How long a step of housekeeping takes")
        self.lag = seconds(
            "inkstream.loop.lag", "Delay of the event loop, measured 4 times a second"
        )
        for name, unit, description in (
            ("inkstream.streams.live", "{stream}", "Streams being written now"),
            ("inkstream.readers", "{reader}", "Connected readers"),
            ("inkstream.buffer.bytes", "By", "Text accepted and not committed yet"),
        ):
            meter.create_observable_gauge(name, [_observer(numbers, name)], unit, description)
        for name, unit, description in (
            ("inkstream.commits", "{commit}", "Commits"),
            ("inkstream.messages", "{message}", "Messages sent to be committed"),
            ("inkstream.bytes", "By", "Bytes of messages sent to be committed"),
        ):
            meter.create_observable_counter(name, [_observer(numbers, name)], unit, description)


def _observer(
    numbers: Callable[[], dict[str, int]], name: str
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(numbers()[name])]

    return observe
