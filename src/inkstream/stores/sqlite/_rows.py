"""Converts rows to values, and values to columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from inkstream._runs import Runs, load_runs
from inkstream._types import JSON, Kind, Segment, Status, StreamId, StreamState

STATUSES: Final = tuple(Status)
"""``inkstream_heads`` stores a status as its index in this tuple, so never change this order."""

ORDINALS: Final[Mapping[Status, int]] = {status: number for number, status in enumerate(STATUSES)}

STATE_COLUMNS: Final = 27


def state(row: tuple[Any, ...]) -> StreamState:
    """Return the stream state that a row of the query ``states`` holds."""
    return StreamState(
        internal_id=row[0],
        stream_id=str.__new__(StreamId, row[1]),  # the id was checked when the stream was created
        kind=Kind(row[2]),
        content_type=row[3],
        status=Status(row[4]),
        epoch=row[5],
        worker=row[6],
        tail=row[7],
        size=row[8],
        owner=row[9],
        group=row[10],
        metadata=json.loads(row[11]),
        created_at=row[12],
        started_at=row[13],
        ended_at=row[14],
        due_at=row[15],
        ttl_s=row[16],
        retain_s=row[17],
        takeover_within_s=row[18],
        code=row[19],
        message=row[20],
        result=None if row[21] is None else json.loads(row[21]),
        report=bool(row[22]),
        gone=bool(row[23]),
        appended_at=row[24],
        writer=row[25],
        runs=runs(row[26]),
    )


def runs(text: str) -> Runs:
    """Return the runs that a column holds."""
    return load_runs(json.loads(text))


def segments(rows: Iterable[tuple[Any, ...]]) -> list[Segment]:
    """Return one segment for each row. A row has a position, a count, a payload and an index."""
    return [Segment(*row) for row in rows]


def dump(value: JSON) -> str | None:
    """Return a JSON value as text for a column; ``None`` as NULL."""
    return None if value is None else json.dumps(value)


def dump_ids(values: Iterable[int] | Iterable[str]) -> str:
    """Return a list for ``json_each``, so that one statement takes any number of values."""
    return json.dumps(list(values))
