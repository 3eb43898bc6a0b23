"""Checks that the streams of a database are complete, for ``inkstream verify`` and for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from inkstream._types import Status
from inkstream.stores._check import run_faults, segment_fault
from inkstream.stores.postgres._address import Address, in_schema, schema_name
from inkstream.stores.postgres._migrate import connected, limit_waits

_STREAMS: Final = """
SELECT coalesce(h.internal_id, s.internal_id) AS internal_id, s.stream_id,
    h.internal_id IS NOT NULL AS has_head,
    s.internal_id IS NOT NULL AS has_stream, h.status, h.tail, h.size, h.gone, h.generation, s.live,
    s.ended_at, s.ending, s.runs, s.forked_from, s.fork_position, source.tail AS source_tail,
    EXISTS (SELECT FROM inkstream.streams f WHERE f.forked_from = h.internal_id) AS has_forks
FROM inkstream.heads h FULL JOIN inkstream.streams s ON s.internal_id = h.internal_id
LEFT JOIN inkstream.heads source ON source.internal_id = s.forked_from
ORDER BY 1
"""

_SEGMENTS: Final = """
SELECT internal_id, position, count, payload, idx FROM (
    SELECT internal_id, position, count, payload, idx FROM inkstream.segments
    UNION ALL
    SELECT internal_id, position, count, payload, idx FROM inkstream.live
) AS stored
ORDER BY internal_id, position
"""

_LOST_MARKS: Final = """
SELECT DISTINCT internal_id FROM inkstream.marks m
WHERE NOT EXISTS (SELECT FROM inkstream.heads h WHERE h.internal_id = m.internal_id)
"""

_ENDED: Final = frozenset(status.value for status in Status if status.ended)
_MOST: Final = 1_000
"""After this many faults, the check stops, because every segment may have a fault."""

_STREAMS_IN_A_BATCH: Final = 500
_SEGMENTS_IN_A_BATCH: Final = 32
"""Most segments have at most 64 KiB, but a segment with a single long message may have more."""


@dataclass(slots=True)
class _Stored:
    """The start, end and size of a stream's segments together, and the faults of these segments."""

    start: int | None = None
    end: int = 0
    size: int = 0
    faults: list[str] = field(default_factory=list)

    def note(self, fault: str) -> None:
        """Add a fault, unless there are so many already that the check will stop."""
        if len(self.faults) < _MOST:
            self.faults.append(fault)


async def check_streams(url: object, *, schema: str | None = None) -> list[str]:
    """Compare each stream's segments with the stream's state; return a list of faults.

    The check finds gaps and overlaps between segments, wrong sizes and indexes, text that is not
    UTF-8, wrong runs, and ends that do not fit the status. The check reads one snapshot of the
    database. Writers may run during the check.

    Raises:
        SchemaOutdated: The database does not have inkstream's schema.
        StoreUnavailable: The database cannot be reached.
        ValueError: The URL or the schema's name cannot be used.
    """
    address = Address.parse(url)
    schema = schema_name(schema or address.schema)
    faults: list[str] = []
    async with (
        connected(address) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await limit_waits(connection)
        async for fault in _found(connection, schema):
            faults.append(fault)
            if len(faults) >= _MOST:
                return [*faults, "and more"]
    return faults


async def _found(connection: asyncpg.Connection[Any], schema: str) -> AsyncIterator[str]:
    segments = _rows(connection, in_schema(_SEGMENTS, schema), _SEGMENTS_IN_A_BATCH)
    stored = _sums(segments)
    here = await anext(stored, None)
    async for row in _rows(connection, in_schema(_STREAMS, schema), _STREAMS_IN_A_BATCH):
        sums = _Stored()
        while here is not None and here[0] <= row["internal_id"]:
            if here[0] == row["internal_id"]:
                sums = here[1]
            else:
                yield f"segments of no stream: internal id {here[0]}"
            here = await anext(stored, None)
        for fault in _faults(row, sums):
            yield f"stream {row['stream_id']!r} ({row['internal_id']}): {fault}"
    while here is not None:
        yield f"segments of no stream: internal id {here[0]}"
        here = await anext(stored, None)
    for (internal_id,) in await connection.fetch(in_schema(_LOST_MARKS, schema)):
        yield f"marks of no stream: internal id {internal_id}"


async def _rows(connection: asyncpg.Connection[Any], sql: str, batch: int) -> AsyncIterator[Any]:
    async for row in connection.cursor(sql, prefetch=batch):
        yield row


async def _sums(rows: AsyncIterator[Any]) -> AsyncIterator[tuple[int, _Stored]]:
    """Yield each internal id with its sums. ``rows`` must be sorted by internal id and position."""
    internal_id: int | None = None
    sums = _Stored()
    async for row in rows:
        if row["internal_id"] != internal_id:
            if internal_id is not None:
                yield internal_id, sums
            internal_id, sums = row["internal_id"], _Stored(row["position"], row["position"])
        if row["position"] != sums.end:
            what = "a gap" if row["position"] > sums.end else "an overlap"
            sums.note(f"{what} between positions {sums.end} and {row['position']}")
        fault = segment_fault(row["count"], row["payload"], row["idx"])
        if fault is not None:
            sums.note(f"the segment at {row['position']} {fault}")
        sums.end = row["position"] + row["count"]
        sums.size += len(row["payload"])
    if internal_id is not None:
        yield internal_id, sums


def _faults(row: Any, sums: _Stored) -> list[str]:
    if not row["has_head"] or not row["has_stream"]:
        return [f"half of its state is missing: its {'head' if row['has_stream'] else 'stream'}"]
    faults = list(sums.faults)
    start, end = row["fork_position"], sums.end
    if sums.start is None:
        end = start
    elif sums.start != start:
        faults.append(f"its messages begin at {sums.start}, not at {start}")
    if end != row["tail"]:
        faults.append(f"its tail is {row['tail']}, and its messages end at {end}")
    if sums.size != row["size"]:
        faults.append(f"its size is {row['size']}, and its messages have {sums.size} bytes")
    ended = row["status"] in _ENDED
    if (row["ending"] is not None, row["ended_at"] is not None) != (ended, ended):
        faults.append(f"its status is {row['status']}, but its end does not fit")
    if row["live"] != (row["status"] in ("pending", "streaming") and not row["gone"]):
        faults.append(f"its status is {row['status']}, and live is {row['live']}")
    if row["gone"] and not row["has_forks"]:
        faults.append("it is kept for forks, and has none")
    if row["fork_position"] > 0 and (row["source_tail"] or 0) < row["fork_position"]:
        faults.append("the messages that it inherits are missing")
    faults += run_faults(row["runs"], row["tail"], row["generation"])
    return faults
