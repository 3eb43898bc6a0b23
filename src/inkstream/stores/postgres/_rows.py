"""Converts streams and changes to and from the arguments and rows of the schema's functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from math import nan
from typing import Any

from inkstream import wire
from inkstream._errors import InvalidInput
from inkstream._runs import load_runs
from inkstream._types import (
    KEEP,
    Change,
    Committed,
    End,
    Group,
    Head,
    Keep,
    Kind,
    NewStream,
    Outcome,
    Page,
    Query,
    Refused,
    Segment,
    Status,
    StreamId,
    StreamState,
)

Row = Sequence[Any]


def storable(text: str | None) -> str | None:
    """Return ``text`` unchanged if PostgreSQL can store it as text.

    Raises:
        InvalidInput: The text has a NUL or half a surrogate pair.
    """
    if text is not None and ("\0" in text or wire.clean_text(text) != text):
        raise InvalidInput(f"{text!r:.80} cannot be stored as a name: it holds NUL or no Unicode")
    return text


# States --------------------------------------------------------------------------------------


def decode_state(text: str) -> StreamState:
    """Return the state that ``text`` holds: a row of the view ``stream_state``, as JSON."""
    row: dict[str, Any] = json.loads(text)
    ending: Mapping[str, Any] = row.pop("ending") or {}
    return StreamState(
        internal_id=row["internal_id"],
        stream_id=StreamId(row["stream_id"]),
        kind=Kind(row["kind"]),
        content_type=row["content_type"],
        status=Status(row["status"]),
        epoch=row["epoch"],
        worker=row["worker"],
        tail=row["tail"],
        size=row["size"],
        owner=row["owner"],
        group=row["group"],
        metadata=row["metadata"],
        created_at=float(row["created_at"]),
        started_at=_time(row["started_at"]),
        ended_at=_time(row["ended_at"]),
        due_at=_time(row["due_at"]),
        ttl_s=_time(row["ttl_s"]),
        retain_s=_time(row["retain_s"]),
        takeover_within_s=float(row["takeover_within_s"]),
        code=ending.get("code"),
        message=ending.get("message"),
        result=ending.get("result"),
        report=row["report"],
        gone=row["gone"],
        appended_at=_time(row["appended_at"]),
        writer=row["writer"],
        runs=load_runs(row["runs"]),
    )


def _time(value: float | None) -> float | None:
    return None if value is None else float(value)


def _ending(end: End) -> str:
    ending = {"code": end.code, "message": end.message, "result": end.result}
    return wire.dump_json(ending).decode()


# Arguments -----------------------------------------------------------------------------------


def create_args(new: NewStream) -> tuple[object, ...]:
    """Return the arguments of ``create_stream``."""
    status = Status.PENDING if new.kind is Kind.TEXT else Status.OPEN
    append = new.append
    return (
        new.stream_id,
        new.kind.value,
        status.value if new.end is None else new.end.status.value,
        storable(new.content_type),
        storable(new.owner),
        storable(new.group),
        wire.dump_json(new.metadata).decode(),
        new.created_at,
        new.due_at,
        new.ttl_s,
        new.retain_s,
        new.takeover_within_s,
        new.report,
        None if new.end is None else _ending(new.end),
        new.max_live,
        None if new.fork is None else new.fork.source,
        None if new.fork is None else new.fork.position,
        None if append is None else append.count,
        None if append is None else append.payload,
        None if append is None else append.index,
        [storable(name) for name in new.marks],
        list(new.marks.values()),
    )


def in_waves(groups: Sequence[Group]) -> tuple[list[int], list[int]]:
    """Return the order in which to apply groups, and the number of changes up to each wave's end.

    Groups of one wave have no stream in common. A group comes in the first wave after all earlier
    groups that share a stream with this group.
    """
    last: dict[int, int] = {}
    wave_of: list[int] = []
    ends: list[int] = []
    for group in groups:
        wave = max([last.get(change.internal_id, 0) for change in group.changes], default=0)
        last.update((change.internal_id, wave + 1) for change in group.changes)
        wave_of.append(wave)
        if wave == len(ends):
            ends.append(0)
        ends[wave] += len(group.changes)
    return sorted(range(len(groups)), key=wave_of.__getitem__), list(accumulate(ends))


def commit_args(waves: list[int], groups: Sequence[Group]) -> tuple[object, ...]:
    """Return the arguments of ``commit_changes``, whose comment explains their encoding."""
    changes = [change for group in groups for change in group.changes]
    group_of = [n for n, group in enumerate(groups) for _ in group.changes]
    marks = [
        (n, storable(name), value)
        for n, change in enumerate(changes, 1)
        if change.marks
        for name, value in change.marks.items()
    ]
    return (
        waves,
        [c.internal_id for c in changes],
        [] if len(changes) == len(groups) else group_of,
        _sparse([c.if_epoch for c in changes]),
        _sparse([c.if_tail for c in changes]),
        _sparse([None if c.if_status is None else ",".join(c.if_status) for c in changes]),
        _sparse([_worker(c.if_worker) for c in changes]),
        _sparse([None if c.append is None else c.append.count for c in changes]),
        _sparse([None if c.append is None else c.append.payload for c in changes]),
        _sparse([None if c.append is None else c.append.index for c in changes]),
        _sparse([c.next_epoch or None for c in changes]),
        _sparse([_status(c) for c in changes]),
        _sparse([None if c.end is None else _ending(c.end) for c in changes]),
        _sparse([c.at for c in changes]),
        _sparse([_worker(c.worker) for c in changes]),
        _sparse([_due_at(c.due_at) for c in changes]),
        _sparse([None if c.report is KEEP else c.report for c in changes]),
        _sparse([c.max_marks if c.marks else None for c in changes]),
        [n for n, _, _ in marks],
        [name for _, name, _ in marks],
        [value for _, _, value in marks],
    )


def _sparse(values: list[Any]) -> list[Any]:
    return values if any(value is not None for value in values) else []


def _worker(worker: str | None | Keep) -> str | None:
    return None if worker is KEEP else worker or ""


def _due_at(due_at: float | None | Keep) -> float | None:
    if isinstance(due_at, Keep):
        return None
    return nan if due_at is None else due_at


def _status(change: Change) -> str | None:
    if change.end is not None:
        return change.end.status.value
    return None if change.status is None else change.status.value


def find_args(query: Query) -> tuple[object, ...]:
    """Return the arguments of ``find_streams``."""
    return (
        None if query.stream_ids is None else list(query.stream_ids),
        storable(query.owner),
        storable(query.group),
        None if query.statuses is None else [status.value for status in query.statuses],
        query.worker is KEEP,
        None if query.worker is KEEP else query.worker,
        query.due_before,
        query.unreported,
        query.before,
        query.limit,
    )


# Results -------------------------------------------------------------------------------------


def outcomes(groups: Sequence[Group], rows: Iterable[Row]) -> list[Outcome]:
    """Return the outcome of each group. ``rows`` come from ``commit_changes``, sorted by change."""
    found = iter(rows)
    results: list[Outcome] = []
    first = 1
    for group in groups:
        heads: list[Head] = []
        while len(heads) < len(group.changes):
            change, refused, epoch, tail, size, generation, state = next(found)
            if refused:
                results.append(
                    Refused(change - first, None if state is None else decode_state(state))
                )
                break
            heads.append(Head(epoch, tail, size, generation))
        else:
            results.append(Committed(tuple(heads)))
        first += len(group.changes)
    return results


def page(row: Row, after: int) -> Page:
    """Return the page in a row of ``read_streams``, which read after the position ``after``."""
    state, until, positions, counts, payloads, indexes, mark_names, mark_values = row
    segments = [
        Segment(position, count, bytes(payload), bytes(index))
        for position, count, payload, index in zip(
            positions or (), counts or (), payloads or (), indexes or (), strict=True
        )
    ]
    if until is not None and segments:
        last = wire.cut(segments.pop(), 0, until)
        if last is not None:
            segments.append(last)
    marks = zip(mark_names or (), mark_values or (), strict=True)
    return Page(
        decode_state(state),
        tuple(segments),
        segments[-1].end if segments else after,
        {name: bytes(value) for name, value in marks},
    )
