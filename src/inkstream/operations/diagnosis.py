"""Find the reasons for a stream's state in the stream's description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from inkstream._types import Kind, Status
from inkstream.operations.description import Cause, StreamDescription, WorkerDescription

SILENT_S: Final = 10.0
"""After this many seconds without a message, a stream's source counts as silent."""

_CODES: Final = {
    "writer_lost": "Its writer's process died or lost its connection to the database; another "
    "process noticed and ended the stream.",
    "never_started": "No writer claimed it in time: was streams.start called, and did its process "
    "run until then?",
    "abandoned": "Its writer died or released it, and no other writer took over in time.",
    "idle": "Its source produced nothing for longer than Timing.idle_s.",
    "total": "It took longer than Timing.total_s.",
    "shutdown": "Its process received the signal to stop, and the answer was not finished in time.",
    "store_unavailable": "The database was unavailable for longer than a writer waits.",
    "internal": "Its source raised an exception, or its task was cancelled; the log of its worker "
    "has the traceback.",
}


def causes(stream: StreamDescription, *, owned: bool, taken_over: bool) -> tuple[Cause, ...]:
    """Return the reasons for a stream's state, the most likely reason first.

    Args:
        stream: The stream's description; its ``causes`` are ignored.
        owned: Whether the column ``worker`` of the stream is set.
        taken_over: Whether another writer may take over the stream if its writer has died.
    """
    if stream.status.ended:
        return (_ended(stream),)
    if stream.kind is Kind.LOG:
        return (Cause("open", "It is a log: anybody may write it until it is closed."),)
    if stream.status is Status.PENDING:
        return (Cause("not_started", "No writer has claimed it yet."),)
    worker = stream.worker
    if worker is None or not owned:
        return (Cause("let_go", "Its writer died or released it; another writer may take over."),)
    return tuple(_streaming(stream, worker, taken_over))


def _ended(stream: StreamDescription) -> Cause:
    assert stream.end is not None
    code = stream.end.code
    words = _CODES.get(code or "", "")
    if not words and stream.status is Status.CANCELLED:
        words = "Somebody stopped it."
    if not words:
        words = "It is complete." if stream.status is Status.DONE else "Its writer chose this end."
    name = f"{stream.status}" if code is None else f"{stream.status} ({code})"
    return Cause("ended", f"It has ended {name}. {words}")


def _streaming(
    stream: StreamDescription, worker: WorkerDescription, taken_over: bool
) -> Iterator[Cause]:
    where = f"process {worker.pid} on {worker.host}"
    next_step = (
        "lets the stream go, to be taken over"
        if taken_over
        else "ends the stream timeout (writer_lost)"
    )
    silent_s = stream.silent_s or 0.0
    if worker.alive is False and worker.locked is False:
        yield Cause(
            "writer_dead",
            f"Its writer, {where}, is dead: {worker.evidence}. Any process of the application "
            f"{next_step} within 2 s; if none runs, the next one that starts.",
        )
        return
    if worker.alive is False:
        yield Cause(
            "writer_unheard",
            f"Its writer, {where}, does not beat any more: {worker.evidence}. Its host has lost "
            "the database, its process is paused, or its event loop is blocked. Any other process "
            f"{next_step} after it has seen no beat for {worker.lease_s:g} s itself.",
        )
        return
    if worker.alive is None:
        yield Cause(
            "writer_unknown",
            f"Its writer, {where}, cannot be found: {worker.evidence}. "
            f"Any process of the application {next_step} within two minutes.",
        )
        return
    age_s = 0.0 if worker.beat_at is None else stream.at - worker.beat_at
    if age_s > 2.5 * worker.beat_s:
        yield Cause(
            "beat_late",
            f"Its writer, {where}, beat {age_s:.1f} s ago, although a beat is due every "
            f"{worker.beat_s:g} s: its event loop is blocked, its process is paused, or it cannot "
            f"write to the database. It counts as dead after {worker.lease_s:g} s.",
        )
        return
    if silent_s > SILENT_S + worker.blocked_s + worker.store_away_s:
        what = "nothing yet" if stream.last_piece_at is None else "nothing more"
        yield Cause(
            "source_silent",
            f"Its source has produced {what} for {silent_s:.0f} s; its writer, {where}, works and "
            "has stored everything. Look at the model or provider that the source waits for.",
        )
    if worker.blocked_s:
        at = f", at {worker.blocked_at}" if worker.blocked_at else ""
        yield Cause(
            "loop_blocked",
            f"The event loop of its writer, {where}, was blocked for {worker.blocked_s:.1f} s "
            f"within the last minute{at}: look for blocking code (time.sleep, a synchronous call, "
            "heavy computing), or for too much work on that machine.",
        )
    if worker.store_away_s:
        yield Cause(
            "store_away",
            f"Commits of its writer, {where}, failed for {worker.store_away_s:.0f} s, and did so "
            "within the last minute: the database was unavailable, full, locked or read-only for "
            f"that process. {worker.buffered_bytes} bytes wait.",
        )
    yield from _reading(stream)


def _reading(stream: StreamDescription) -> Iterator[Cause]:
    readers = stream.readers
    total = readers.here + readers.elsewhere
    if readers.behind:
        takes = "takes" if readers.behind == 1 else "take"
        yield Cause(
            "reader_behind",
            f"{readers.behind} of {_readers(total)} {takes} nothing, the slowest of them "
            f"for {readers.behind_s:.0f} s. Its client, or the network to it, is slow or gone.",
        )
    elif total:
        yield Cause(
            "delivered",
            f"Everything stored was written to the network for {_all(total)}, as in a healthy "
            "stream. This process cannot see whether a proxy on the way has passed it on: if a "
            "page shows less, run `inkstream doctor URL` to find what delays it.",
        )
    else:
        yield Cause("no_reader", "Nobody reads it at the moment.")


def _readers(count: int) -> str:
    return "1 reader" if count == 1 else f"{count} readers"


def _all(count: int) -> str:
    return "its one reader" if count == 1 else f"all {count} readers"
