"""The errors of a writer that may no longer write its stream."""

from __future__ import annotations

from inkstream._errors import WriterFenced
from inkstream._types import End, Status, StreamId, StreamState


class Finished(WriterFenced):
    """This process itself ended or released the stream. The writer's later calls raise this."""


def finished(stream_id: StreamId, end: End | None, *, has: str) -> Finished:
    """Return the error of a writer whose stream this process ended or released.

    ``end`` is the stream's end, or ``None`` for a released stream. ``has`` is the verb of the
    message: "was" or "is being".
    """
    if end is None:
        message = f"stream {stream_id!r} {has} released by this writer"
        return Finished(stream_id, Status.STREAMING, f"{message}, so it can append nothing more")
    message = f"stream {stream_id!r} {has} ended by this process: {_name(end.status, end.code)}"
    return Finished(stream_id, end.status, message)


def fenced(stream_id: StreamId, epoch: int, state: StreamState | None) -> WriterFenced:
    """Return the error of the writer that claimed ``epoch``. The stream now has ``state``."""
    if state is None:
        why = "the stream does not exist any more"
    elif state.ended:
        why = f"another operation ended the stream: {_name(state.status, state.code)}"
    elif state.epoch > epoch:
        why = "another writer took the stream over"
    else:
        why = "the database lost text of the stream (was it restored, or did it fail over?)"
    status = None if state is None else state.status
    return WriterFenced(stream_id, status, f"this writer lost stream {stream_id!r}: {why}")


def _name(status: Status, code: str | None) -> str:
    return status.value if code is None else f"{status} ({code})"
