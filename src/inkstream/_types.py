"""The values that every part of inkstream passes around: identities, states, messages, pages."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import Any, Final, Self, TypeAlias

from inkstream._errors import InvalidStreamId
from inkstream._runs import Runs, extended

JSON: TypeAlias = "None | bool | int | float | str | list[JSON] | Mapping[str, JSON]"
"""Any value that JSON can hold."""

_STREAM_ID = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,512}", re.ASCII)


class StreamId(str):
    """Name a stream: 1 to 512 characters, no control characters.

    A ``StreamId`` is a checked ``str``. It works as a type in pydantic models and in FastAPI path
    parameters: an invalid id becomes a validation error.

    Raises:
        InvalidStreamId: The text is not a valid stream id.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        if not isinstance(value, str) or _STREAM_ID.fullmatch(value) is None:
            raise InvalidStreamId(value)
        return super().__new__(cls, value)

    @classmethod
    def generate(cls) -> Self:
        """Return a new id with 128 random bits, safe in a URL path without escaping."""
        made = secrets.token_urlsafe(16)
        # A command line would read an id with a leading "-" as an option.
        return cls.generate() if made.startswith("-") else cls(made)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(min_length=1, max_length=512)
        )


class Kind(StrEnum):
    """Say how many writers a stream has: one until its end (text), or many at a time (log)."""

    TEXT = "text"
    LOG = "log"


class Status(StrEnum):
    """Name the state of a stream. docs/concepts.md has the table of all transitions."""

    PENDING = "pending"
    STREAMING = "streaming"
    OPEN = "open"
    DONE = "done"
    ERROR = "error"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"

    @property
    def ended(self) -> bool:
        """True when nothing can ever be appended again."""
        return self in _ENDED


_STOPPED: Final = frozenset({Status.CANCELLED, Status.TIMEOUT})
_ENDED: Final = _STOPPED | {Status.DONE, Status.ERROR}

JSON_CONTENT: Final = "application/json"
"""Streams of this content type count messages. All others count bytes."""


class Keep(Enum):
    """The type of ``KEEP``, which means: leave the field as it is."""

    KEEP = "keep"

    def __repr__(self) -> str:
        return "KEEP"


KEEP: Final = Keep.KEEP


@dataclass(frozen=True, slots=True)
class End:
    """How a stream ended: its final status, with facts for the application and its users.

    Attributes:
        status: One of the four ended statuses.
        code: A stable word for programs (``"shutdown"``, ``"provider_overloaded"``), or ``None``.
        message: A sentence that may be shown to the reader, or ``None``.
        result: The application's own JSON value (usage, finish reason), or ``None``.
    """

    status: Status
    code: str | None = None
    message: str | None = None
    result: JSON = None

    @property
    def terminal(self) -> End:
        """The end as the terminal event sends it: the same for every reader (G5).

        When another process stops a stream, its writer may store a result later. So the terminal
        event of a cancelled or timed out stream never has a result, but the stored stream may.
        """
        if self.result is None or self.status not in _STOPPED:
            return self
        return replace(self, result=None)


# The classes that every commit creates are not frozen, although nobody changes their values: a
# frozen dataclass costs one extra call per field. That was a tenth of the engine's time per token.


@dataclass(slots=True)
class Segment:
    """Consecutive messages of one stream, as they are stored and published.

    Attributes:
        position: How many messages come before the segment (bytes, in a byte stream).
        count: How many messages the segment holds (bytes, in a byte stream); never zero.
        payload: The bytes of the messages, joined.
        index: The end and the type of each message (see ``wire``); empty in a byte stream.
    """

    position: int
    count: int
    payload: bytes
    index: bytes

    @property
    def end(self) -> int:
        """The position after the segment."""
        return self.position + self.count


@dataclass(frozen=True, slots=True)
class StreamState:
    """Everything that one snapshot of the store says about a stream, except its text.

    Times are seconds since the Unix epoch. ``tail`` is the position after the last message (a
    count of bytes in a byte stream), and ``size`` is the stored payload in bytes. ``worker`` is
    the worker that must act next. While the stream is ``streaming``, that is the writer's worker.
    After the end, it is the worker that reports the end (``report``). ``due_at`` is the time at
    which the sweep acts on the stream; docs/concepts.md says how, in "Which worker acts on a
    stream".
    """

    internal_id: int
    stream_id: StreamId
    kind: Kind
    content_type: str
    status: Status
    epoch: int
    worker: str | None
    tail: int
    size: int
    owner: str | None
    group: str | None
    metadata: Mapping[str, JSON]
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    due_at: float | None = None
    ttl_s: float | None = None
    retain_s: float | None = None
    takeover_within_s: float = 0.0
    code: str | None = None
    message: str | None = None
    result: JSON = None
    report: bool = False
    gone: bool = False
    """True if the stream was deleted, but is kept because forks still read its messages."""
    appended_at: float | None = field(default=None, compare=False)
    """The time of the last commit of messages, by the store's own clock; for display only."""
    writer: str | None = field(default=None, compare=False)
    """The worker that made the last claim. Unlike ``worker``, this field stays after the end."""
    runs: Runs = ()
    """The generations of the stream's messages."""

    @property
    def ended(self) -> bool:
        """True when the status is a terminal one."""
        return self.status.ended

    @property
    def end(self) -> End | None:
        """How the stream ended; ``None`` until it ends.

        Unlike the terminal event, this value has the ``result`` of a cancelled or timed out stream
        too.
        """
        if not self.status.ended:
            return None
        return End(self.status, self.code, self.message, self.result).terminal

    @property
    def counts_bytes(self) -> bool:
        """True for a byte stream: its positions count bytes, and its segments have no index."""
        return self.content_type.partition(";")[0].strip().lower() != JSON_CONTENT

    def deletion_due(self, ended_at: float) -> float | None:
        """Return when a stream that ends at ``ended_at`` is deleted (``None``: never)."""
        return None if self.retain_s is None else ended_at + self.retain_s

    def still(
        self,
        *,
        status: Status | None = None,
        next_epoch: bool = False,
        end: End | None = None,
        at: float | None = None,
        worker: str | None | Keep = KEEP,
        due_at: float | None | Keep = KEEP,
    ) -> Change:
        """Return a change that the store refuses if the stream has changed since this state.

        Status, epoch and worker must be the same; new text is allowed. The arguments are the
        effects of the change: see ``Change``.
        """
        return Change(
            internal_id=self.internal_id,
            if_status=(self.status,),
            if_epoch=self.epoch,
            if_worker=self.worker,
            status=status,
            next_epoch=next_epoch,
            end=end,
            at=at,
            worker=worker,
            due_at=due_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStream:
    """The arguments of ``Store.create``.

    With ``fork``, the stream begins with the messages of another stream up to a position.
    ``max_live`` limits how many ``pending`` and ``streaming`` streams the owner may have. The store
    checks that in the same transaction.
    """

    stream_id: StreamId
    kind: Kind = Kind.TEXT
    content_type: str = JSON_CONTENT
    owner: str | None = None
    group: str | None = None
    metadata: Mapping[str, JSON] = field(default_factory=dict)
    created_at: float
    due_at: float | None = None
    ttl_s: float | None = None
    retain_s: float | None = None
    takeover_within_s: float = 0.0
    report: bool = False
    append: Segment | None = None
    marks: Mapping[str, bytes] = field(default_factory=dict)
    end: End | None = None
    fork: Fork | None = None
    max_live: int | None = None


@dataclass(frozen=True, slots=True)
class Fork:
    """The stream that a fork copies, and the position up to which the fork has its messages."""

    source: int
    position: int


@dataclass(slots=True, kw_only=True)
class Change:
    """What a ``Group`` does to one stream: first the conditions, then the effects, atomically.

    A condition that is ``None`` (``KEEP`` for ``if_worker``) is not checked. If the stream does not
    exist, was deleted, or is kept only for its forks, every change is refused.

    Attributes:
        internal_id: The stream, by the number that is never reused.
        if_status: The stream's status must be one of these.
        if_epoch: The stream's epoch must be this number.
        if_tail: The stream's tail must be this position.
        if_worker: The stream's worker must be this worker (``None``: no worker).
        append: Messages to add at the tail. The segment's own ``position`` is ignored.
        next_epoch: Add one to the epoch. That fences every earlier writer.
        status: The status to set. To end the stream, use ``end`` instead.
        end: End the stream: set status, code, message, result and ``ended_at``.
        at: The wall time to store as ``started_at`` (first ``streaming``) or ``ended_at``.
        worker: The worker that must act next.
        due_at: The time at which the sweep acts on the stream.
        report: Whether the end must still be reported.
        marks: Marks to set. They are deleted with the stream.
        max_marks: Refuse the change if a new mark would make the stream have more marks than this.
    """

    internal_id: int
    if_status: tuple[Status, ...] | None = None
    if_epoch: int | None = None
    if_tail: int | None = None
    if_worker: str | None | Keep = KEEP
    append: Segment | None = None
    next_epoch: bool = False
    status: Status | None = None
    end: End | None = None
    at: float | None = None
    worker: str | None | Keep = KEEP
    due_at: float | None | Keep = KEEP
    report: bool | Keep = KEEP
    marks: Mapping[str, bytes] = field(default_factory=dict)
    max_marks: int | None = None

    @property
    def only_appends(self) -> bool:
        """True if the change only adds messages and marks."""
        return (
            not self.next_epoch
            and self.status is None
            and self.end is None
            and self.worker is KEEP
            and self.due_at is KEEP
            and self.report is KEEP
        )


@dataclass(slots=True)
class Group:
    """Changes that are applied together or not at all; at most one change per stream."""

    changes: tuple[Change, ...]


@dataclass(slots=True)
class Committed:
    """The outcome of a group that is durable. ``heads`` has one item per change, in order."""

    heads: tuple[Head, ...]


@dataclass(slots=True)
class Head:
    """The few fields of a stream that every commit changes, with their values after a change.

    ``generation`` is the generation of the stream's last run.
    """

    epoch: int
    tail: int
    size: int
    generation: int


def applied(state: StreamState, change: Change, head: Head | None = None) -> StreamState:
    """Return the state of a stream after a change.

    Args:
        state: The stream before the change.
        change: The change. Its conditions must hold.
        head: The fields as the commit returned them. Without ``head``, the function computes them
            as if no other commit had come between ``state`` and the change.
    """
    if head is None:
        append = change.append
        head = Head(
            state.epoch + change.next_epoch,
            state.tail + (0 if append is None else append.count),
            state.size + (0 if append is None else len(append.payload)),
            state.runs[-1].generation if state.runs else 0,
        )
    runs = state.runs
    if change.append is not None or change.end is not None:
        first = head.tail - (0 if change.append is None else change.append.count)
        runs = extended(runs, first, head.generation)
    status, started_at, writer = state.status, state.started_at, state.writer
    if change.status is not None:
        status = change.status
    if change.status is Status.STREAMING:
        started_at = change.at if started_at is None else started_at
        writer = change.worker if isinstance(change.worker, str) else writer
    done = replace(
        state,
        status=status,
        epoch=head.epoch,
        tail=head.tail,
        size=head.size,
        started_at=started_at,
        writer=writer,
        worker=state.worker if change.worker is KEEP else change.worker,
        due_at=state.due_at if change.due_at is KEEP else change.due_at,
        report=state.report if change.report is KEEP else change.report,
        runs=runs,
    )
    end = change.end
    if end is None:
        return done
    return replace(
        done,
        status=end.status,
        ended_at=change.at,
        code=end.code,
        message=end.message,
        result=end.result,
    )


@dataclass(frozen=True, slots=True)
class Refused:
    """The outcome of a group that changed nothing: a condition of ``changes[index]`` did not hold.

    ``state`` is the state of that change's stream in the same transaction, or ``None`` if the
    stream does not exist.
    """

    index: int
    state: StreamState | None


Outcome: TypeAlias = Committed | Refused


@dataclass(frozen=True, slots=True)
class Page:
    """Messages after a position, and the state of the stream in the same snapshot.

    The first segment may begin before the requested position; ``wire.cut`` removes the messages
    before it. ``marks`` has the requested marks that exist.
    """

    state: StreamState
    segments: tuple[Segment, ...]
    end: int
    marks: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Read:
    """One stream of a ``Store.read_many``, and the position after which to read it."""

    stream_id: StreamId
    after: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A filter for ``Store.find``: a stream must meet every condition that is set.

    The result is sorted with the newest stream first. To get the next page, set ``before`` to the
    last internal id of the previous page. ``Store.find`` never returns a stream that is gone.
    """

    stream_ids: tuple[StreamId, ...] | None = None
    owner: str | None = None
    group: str | None = None
    statuses: tuple[Status, ...] | None = None
    worker: str | None | Keep = KEEP
    due_before: float | None = None
    unreported: bool = False
    """If true: only streams that have ended and whose end must still be reported."""
    before: int | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker as the store sees it.

    Attributes:
        worker: Its identity.
        beats: The number of its beats. While the number grows, the worker lives.
        locked: Whether the worker's process holds its lock. ``None`` if this host cannot see the
            lock because the worker runs on another host: then only ``beats`` shows whether it
            lives.
    """

    worker: str
    beats: int
    locked: bool | None


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A worker, for operators.

    Attributes:
        worker: Its identity.
        locked: Whether the worker's process holds its lock, as in ``WorkerState``.
        beat_at: The time of its last beat, by the store's clock.
        said: The description of itself that the worker sent with its last beat: JSON text. The
            store does not interpret it.
    """

    worker: str
    locked: bool | None
    beat_at: float
    said: str


@dataclass(frozen=True, slots=True)
class Roster:
    """All workers, and the store's time at which they were read."""

    now: float
    workers: tuple[WorkerReport, ...]


@dataclass(frozen=True, slots=True, repr=False)
class StreamBody:
    """A stream as it is stored at one moment, live or finished.

    Attributes:
        stream_id: The stream's name.
        status: The stream's status.
        text: The pieces of text, joined.
        parts: Text and JSON objects in order, adjacent text joined.
        end: How the stream ended, with the application's own result; ``None`` until it ends.
        metadata: The object given to ``create``; never sent to clients.
        owner: The owner given to ``create``; never sent to clients.
        group: The group given to ``create``.
        created_at: Seconds since the Unix epoch, like all times here.
        started_at: When a writer first claimed the stream.
        ended_at: When the stream ended.
        offset: The offset after everything in this body. A reader that has this body follows the
            stream from this offset.
    """

    stream_id: StreamId
    status: Status
    text: str
    parts: tuple[str | Mapping[str, JSON], ...]
    end: End | None
    metadata: Mapping[str, JSON]
    owner: str | None
    group: str | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    offset: str

    def __repr__(self) -> str:
        start = self.text[:60] + "…" * (len(self.text) > 60)
        return (
            f"<StreamBody {str(self.stream_id)!r} {self.status}, "
            f"{len(self.text):,} characters: {start!r}>"
        )
