"""The rules of the protocol as pure functions of a stream's state and a request.

These functions neither wait nor call the store. If the store refuses a ``Change`` because the
stream changed meanwhile, the caller calls the same function again with the newer state.

Besides a stream's state, the protocol stores these values as marks of the stream: ``seq`` (the last
``Stream-Seq``), ``p:{id}`` (a producer's epoch and last sequence number), ``closed`` (if a producer
closed the stream: which producer, and by which append) and ``fork`` (the parameters of a fork). A
log has no writer, so the log's epoch can count the changes of its marks. The store applies a
change with marks only if the epoch is still the epoch that was read, and each such change raises
the epoch. Changes without marks have no such condition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from inkstream._errors import InvalidMessage, LimitExceeded
from inkstream._types import KEEP, Change, End, Keep, Kind, Segment, Status, StreamState
from inkstream.durable.refusal import Refusal, Reply
from inkstream.durable.requests import AppendRequest, Producer, bad, media_type
from inkstream.engine.settings import Limits
from inkstream.wire import Offset

Marks = Mapping[str, bytes]

SEQ: Final = "seq"
CLOSED: Final = "closed"
FORK: Final = "fork"

_SLACK: Final = 1.05
"""A renewed time to live is 5 % longer than requested, so that not every access must renew it."""


# State -------------------------------------------------------------------------------------------


def is_absent(state: StreamState, now: float | None) -> bool:
    """Return whether a stream has expired. For clients, an expired stream is absent.

    ``now`` is ``None`` while the wall clock cannot be trusted. Then no stream counts as expired.
    """
    return (
        now is not None
        and state.due_at is not None
        and state.due_at <= now
        and state.status not in (Status.PENDING, Status.STREAMING)
    )


def renewed(state: StreamState, now: float) -> float | Keep:
    """Return when a stream that is accessed at ``now`` must expire.

    Return ``KEEP`` if the stored time need not change.
    """
    if state.ttl_s is None or (state.due_at is not None and state.due_at >= now + state.ttl_s):
        return KEEP
    return now + state.ttl_s * _SLACK


def tail_offset(state: StreamState) -> str:
    """Return the offset after the last message, or after the end of an ended text stream."""
    ended = state.kind is Kind.TEXT and state.ended
    return str(Offset.at(state, state.tail, ended=ended))


def end_headers(state: StreamState) -> dict[str, str]:
    """Return inkstream's own headers with a text stream's status."""
    if state.kind is not Kind.TEXT:
        return {}
    headers = {"inkstream-status": state.status.value}
    if state.ended and state.code is not None:
        headers["inkstream-code"] = state.code.encode("ascii", "backslashreplace").decode()
    return headers


def tail_headers(state: StreamState) -> dict[str, str]:
    """Return the headers with the offset of a stream's tail, and whether the stream is closed."""
    headers = {"stream-next-offset": tail_offset(state), **end_headers(state)}
    if state.ended:
        headers["stream-closed"] = "true"
    return headers


def head(state: StreamState) -> Reply:
    """Return the response to a HEAD request."""
    headers = {
        "content-type": state.content_type,
        "cache-control": "no-store",
        **tail_headers(state),
    }
    if state.kind is Kind.LOG:
        if state.ttl_s is not None:
            headers["stream-ttl"] = str(int(state.ttl_s))
        elif state.due_at is not None:
            headers["stream-expires-at"] = _timestamp(state.due_at)
    return Reply(200, headers)


def _timestamp(at: float) -> str:
    try:
        moment = datetime.fromtimestamp(at, UTC)
    except (OverflowError, ValueError):
        moment = datetime.max.replace(tzinfo=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# Append and close --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attempt:
    """A change to commit. ``reply`` returns the response for the state after the change."""

    change: Change
    reply: Callable[[StreamState], Reply]

    @property
    def size(self) -> int:
        """How many bytes the change appends."""
        return 0 if self.change.append is None else len(self.change.append.payload)

    @property
    def count(self) -> int:
        """By how many positions the change moves the tail."""
        return 0 if self.change.append is None else self.change.append.count


def append_marks(request: AppendRequest) -> tuple[str, ...]:
    """Return the names of the marks that ``append`` needs for this request."""
    if request.producer is not None:
        return (SEQ, CLOSED, request.producer.mark)
    return (SEQ,) if request.seq is not None else ()


def append(
    state: StreamState, marks: Marks, request: AppendRequest, now: float, limits: Limits
) -> Attempt | Reply:
    """Return the change that an append or a close needs, or the response if no change is needed.

    Raises:
        Refusal: The protocol does not allow the request.
    """
    if state.kind is Kind.TEXT and not state.ended:
        raise Refusal(409, "writer_owned", "This stream is a text: only its own writer may write.")
    producer = request.producer
    if state.ended:
        return _append_to_closed(state, marks, request)
    if request.content_type is not None and (
        media_type(request.content_type) != media_type(state.content_type)
    ):
        raise Refusal(
            409,
            "content_type_mismatch",
            f"The content type of this stream is {media_type(state.content_type)}.",
        )
    if producer is not None:
        duplicate = _check_producer(marks, producer)
        if duplicate is not None:
            return duplicate
    if request.seq is not None and SEQ in marks and request.seq <= marks[SEQ]:
        raise Refusal(409, "seq_regression", "Stream-Seq must be larger than the last Stream-Seq.")
    return _attempt(state, request, now, limits)


def _append_to_closed(state: StreamState, marks: Marks, request: AppendRequest) -> Reply:
    producer = request.producer
    headers = tail_headers(state)
    if producer is not None:
        if marks.get(CLOSED) == _closing(producer):
            return Reply(204, {**headers, **_echo(producer.epoch, producer.seq)})
        known = _known(marks, producer)
        if known is not None and producer.epoch < known[0]:
            raise _stale(known[0])
    elif not request.body:
        return Reply(204, headers)
    raise Refusal(409, "closed", "This stream is closed: nothing can be appended.", headers)


def _check_producer(marks: Marks, producer: Producer) -> Reply | None:
    """Return the response to a duplicate, or ``None`` for the producer's next append.

    Section 5.2.1 of the protocol contains the rules.
    """
    known = _known(marks, producer)
    if known is None or producer.epoch > known[0]:
        if producer.seq == 0:
            return None
        if known is None:
            raise _gap(0, producer.seq)
        raise bad("invalid_producer", "A new Producer-Epoch starts with Producer-Seq 0.")
    epoch, last = known
    if producer.epoch < epoch:
        raise _stale(epoch)
    if producer.seq <= last:
        return Reply(204, _echo(epoch, last))
    if producer.seq > last + 1:
        raise _gap(last + 1, producer.seq)
    return None


def _known(marks: Marks, producer: Producer) -> tuple[int, int] | None:
    mark = marks.get(producer.mark)
    if mark is None:
        return None
    epoch, _, seq = mark.partition(b":")
    return int(epoch), int(seq)


def _echo(epoch: int, seq: int) -> dict[str, str]:
    return {"producer-epoch": str(epoch), "producer-seq": str(seq)}


def _stale(epoch: int) -> Refusal:
    return Refusal(
        403,
        "stale_producer",
        "This producer has written with a newer epoch.",
        {"producer-epoch": str(epoch)},
    )


def _gap(expected: int, received: int) -> Refusal:
    return Refusal(
        409,
        "producer_gap",
        "An earlier append of this producer is missing.",
        {"producer-expected-seq": str(expected), "producer-received-seq": str(received)},
    )


def _closing(producer: Producer) -> bytes:
    return f"{producer.epoch}:{producer.seq}:{producer.id}".encode()


def _attempt(state: StreamState, request: AppendRequest, now: float, limits: Limits) -> Attempt:
    producer, seq = request.producer, request.seq
    segment = None
    if request.body:
        try:
            segment = request.body.segment(
                is_json=not state.counts_bytes, message_bytes=limits.message_bytes
            )
        except LimitExceeded as exc:
            raise Refusal(413, exc.code, str(exc)) from exc
        except InvalidMessage as exc:
            raise bad(exc.code, str(exc)) from exc
        if segment is None:
            raise bad("empty_array", "An empty array appends nothing.")
        if state.size + len(segment.payload) > limits.stream_bytes:
            raise Refusal(413, "stream_too_large", "This stream is full.")
    marks: dict[str, bytes] = {}
    if seq is not None:
        marks[SEQ] = seq
    if producer is not None:
        marks[producer.mark] = b"%d:%d" % (producer.epoch, producer.seq)
        if request.closed:
            marks[CLOSED] = _closing(producer)
    due_at = renewed(state, now)
    deletion_due = state.deletion_due(now)
    if request.closed and deletion_due is not None:
        due_at = deletion_due
    change = Change(
        internal_id=state.internal_id,
        if_status=(Status.OPEN,),
        if_epoch=state.epoch if marks else None,
        next_epoch=bool(marks),
        append=segment,
        end=End(Status.DONE) if request.closed else None,
        at=now if request.closed else None,
        due_at=due_at,
        marks=marks,
        max_marks=limits.marks_per_stream if marks else None,
    )

    def reply(done: StreamState) -> Reply:
        headers = tail_headers(done)
        if producer is None:
            return Reply(204, headers)
        headers |= _echo(producer.epoch, producer.seq)
        return Reply(204 if segment is None else 200, headers)

    return Attempt(change, reply)


def join(attempts: Sequence[Attempt]) -> Change:
    """Join attempts into one change.

    Each attempt must have been decided as if the attempts before it had committed.
    """
    changes = [attempt.change for attempt in attempts]
    if len(changes) == 1:
        return changes[0]
    segments = [change.append for change in changes if change.append is not None]
    marks: dict[str, bytes] = {}
    for change in changes:
        marks |= change.marks
    dues = [change.due_at for change in changes if change.due_at is not KEEP]
    last = changes[-1]
    return replace(
        changes[0],
        append=Segment(
            0,
            sum(segment.count for segment in segments),
            b"".join([segment.payload for segment in segments]),
            b"".join([segment.index for segment in segments]),
        ),
        end=last.end,
        at=last.at,
        due_at=dues[-1] if dues else KEEP,
        marks=marks,
    )


def left_behind(done: StreamState, attempts: Sequence[Attempt]) -> list[StreamState]:
    """Return the state after each of the attempts. ``done`` is the state after all attempts."""
    if len(attempts) == 1:
        return [done]
    states: list[StreamState] = []
    tail = done.tail - sum(attempt.count for attempt in attempts)
    for attempt in attempts:
        tail += attempt.count
        status = done.status if attempt.change.end is not None else Status.OPEN
        states.append(replace(done, tail=tail, status=status))
    return states


def too_many_marks(change: Change, state: StreamState) -> bool:
    """Return whether the change was refused because the stream has too many marks."""
    return (
        change.max_marks is not None
        and state.status is Status.OPEN
        and state.epoch == change.if_epoch
        and not state.gone
    )


# Delete ------------------------------------------------------------------------------------------


def check_deletable(state: StreamState) -> None:
    """Raise ``Refusal`` for a text stream that has not ended."""
    if state.kind is Kind.TEXT and not state.ended:
        raise Refusal(409, "writer_owned", "This stream is a text that is still being written.")
