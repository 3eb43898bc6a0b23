"""Checks that a segment's count, text and index agree, and that a stream's runs are valid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

from inkstream import wire
from inkstream._runs import MAX_RUNS, is_generation, load_runs


def segment_fault(count: int, payload: bytes, index: bytes) -> str | None:
    """Return what is wrong with a segment, or ``None`` if count, payload and index agree.

    A segment of a byte stream has no index. Its count and its size must be equal.
    """
    size = len(payload)
    if not index:
        return None if count == size else f"says {count} bytes and has {size}"
    if index[-1] >= 128:
        return "has an index that breaks off"
    lengths = [length for length, _ in wire.index_entries(bytes(index))]
    if len(lengths) != count:
        return f"says {count} messages and has {len(lengths)}"
    if sum(lengths) != size:
        return f"says {sum(lengths)} bytes and has {size}"
    try:
        payload.decode()
    except UnicodeDecodeError as exc:
        return f"is not UTF-8 at byte {exc.start}"
    return None


def run_faults(text: str, tail: int, generation: int) -> Iterator[str]:
    """Yield what is wrong with a stream's runs. Wrong runs can make valid offsets look invalid.

    ``text`` has the stored runs. ``tail`` and ``generation`` come from the stream's head.
    """
    try:
        numbers = json.loads(text)
    except ValueError:
        numbers = None
    if not isinstance(numbers, list) or any(type(number) is not int for number in numbers):
        yield "its runs are no list of numbers"
        return
    runs = load_runs(numbers)
    if len(numbers) % 2 or not 0 < len(runs) <= MAX_RUNS:
        yield f"its runs are {len(numbers)} numbers, and not 1 to {MAX_RUNS} pairs"
        return
    if runs[0].first != 0:
        yield f"its runs begin at {runs[0].first}, not at 0"
    if any(later.first <= run.first for run, later in pairwise(runs)):
        yield "its runs are out of order"
    if any(later.generation == run.generation for run, later in pairwise(runs)):
        yield "two of its runs have the same generation"
    if any(run.first > tail for run in runs):
        yield f"a run begins past its tail, {tail}"
    if not all(is_generation(run.generation) for run in runs):
        yield "a run has a generation that does not exist"
    if runs[-1].generation != generation:
        yield f"its last run is of generation {runs[-1].generation}, but its head has {generation}"
