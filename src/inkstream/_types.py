"""The shared data types of inkstream: ids, states, messages, changes, pages."""

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
"""Any value that can be written as JSON."""

_STREAM_ID = re.compile(r"(?!\.{1,2}\Z)[^\x00-\x1f\x7f\ud800-\udfff]{1,512}", re.ASCII)


class StreamId(str):
    """The name of a stream: a ``str`` of 1 to 512 characters.

    ASCII control characters and halves of surrogate pairs are not valid. The names ``.`` and ``..``
    are not valid, because clients remove them from the path of a URL, even if they are
    percent-encoded.

    A field of a pydantic model, or a path parameter of a FastAPI route, may have this type. Then an
    invalid id causes a validation error.

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
        """Return a new id with 128 random bits. The id needs no escaping in the path of a URL."""
        made = secrets.token_urlsafe(16)
        # On a command line, an id that begins with "-" would look like an option.
        return cls.generate() if made.startswith("-") else cls(made)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(min_length=1, max_length=512)
        )


class Kind(StrEnum):
    """The kind of a stream: *text* (one writer at a time) or *log* (anybody may append)."""

    TEXT = "text"
    LOG = "log"


class Status(StrEnum):
    """The status of a stream. The status table in docs/concepts.md shows how a status changes."""

    PENDING = "pending"
    STREAMING = "streaming"
    OPEN = "open"
    DONE = "done"
    ERROR = "error"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"

    @property
    def ended(self) -> bool:
        """True for a final status. Nothing can be appended to a stream with such a status."""
        return self in _ENDED


_STOPPED: Final = frozenset({Status.CANCELLED, Status.TIMEOUT})
_ENDED: Final = _STOPPED | {Status.DONE, Status.ERROR}

JSON_CONTENT: Final = "application/json"
"""Positions count messages in a stream with this content type, and bytes in any other stream."""


class Keep(Enum):
    """The type of ``KEEP``.

    A change with ``KEEP`` for an effect, such as ``due_at``, does not change this field of the
    stream. With ``KEEP`` for ``Change.if_worker`` or ``Query.worker``, the stream may have any
    worker, or none.
    """

    KEEP = "keep"

    def __repr__(self) -> str:
        return "KEEP"


KEEP: Final = Keep.KEEP


@dataclass(frozen=True, slots=True)
class End:
    """How a stream ended.

    Attributes:
        status: The stream's final status: ``done``, ``error``, ``cancelled`` or ``timeout``.
        code: A stable word for programs (``"shutdown"``, ``"provider_overloaded"``), or ``None``.
        message: A sentence that an application may show to its users, or ``None``.
        result: A JSON value of the application, for example the usage, or ``None``.
    """

    status: Status
    code: str | None = None
    message: str | None = None
    result: JSON = None

    @property
    def terminal(self) -> End:
        """The end in the form of the terminal event, which is the same for every reader (G5).

        The terminal event of a ``cancelled`` or ``timeout`` stream never has a result, because the
        stream's writer may still store a result after readers have received the event.
        """
        if self.result is None or self.status not in _STOPPED:
            return self
        return replace(self, result=None)


# Some classes below are not frozen, because commits create many objects of these classes, and
# frozen objects took a tenth of the engine's time per token. But do not change the objects. Only
# ``Writer.take`` changes such an object: the writer's own ``Change``.


@dataclass(slots=True)
class Segment:
    """Consecutive messages of one stream, in the form in which a store keeps them.

    Attributes:
        position: The number of messages (in a byte stream: bytes) before the segment.
        count: The number of messages (in a byte stream: bytes) in the segment. Stores never get or
            return a segment with the count 0.
        payload: The bytes of all messages, joined.
        index: The length and the type of each message (see ``wire``). Empty in a byte stream.
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
    """The fields of a stream at one moment, without its messages.

    Fields named ``…_at`` are seconds since the Unix epoch, and fields named ``…_s`` are durations
    in seconds. ``tail`` is the position after the last message, and ``size`` is the number of
    stored bytes. ``worker`` and ``due_at`` say which worker must act next on the stream, and when
    (docs/concepts.md, "Which worker acts on a stream").
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
    """True if the stream was deleted, but the store keeps it because forks read its messages."""
    appended_at: float | None = field(default=None, compare=False)
    """The time of the last commit of messages, by the store's clock. Use this only for display."""
    writer: str | None = field(default=None, compare=False)
    """The worker that made the last claim. Unlike ``worker``, this stays after the stream's end."""
    runs: Runs = ()

    @property
    def ended(self) -> bool:
        """True if the stream has ended."""
        return self.status.ended

    @property
    def end(self) -> End | None:
        """The stream's end in the form of the terminal event; ``None`` until the stream ends.

        This end never has the result of a ``cancelled`` or ``timeout`` stream (see
        ``End.terminal``). To get the result of such a stream, use the state's field ``result``.
        """
        if not self.status.ended:
            return None
        return End(self.status, self.code, self.message, self.result).terminal

    @property
    def counts_bytes(self) -> bool:
        """True for a byte stream."""
        return self.content_type.partition(";")[0].strip().lower() != JSON_CONTENT

    def deletion_due(self, ended_at: float) -> float | None:
        """Return when a stream that ends at ``ended_at`` is deleted; ``None`` for never."""
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
        """Return a change that requires the same status, epoch and worker as this state.

        The store applies the change even if the stream has new messages. The arguments are the
        effects of the change; see ``Change``.
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

    ``max_live`` is the maximum number of ``pending`` and ``streaming`` streams of the owner. The
    store checks this limit in the transaction that creates the stream.
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
    """A fork begins with messages of ``source`` (a stream's internal id), up to ``position``."""

    source: int
    position: int


@dataclass(slots=True, kw_only=True)
class Change:
    """A change of one stream: conditions, and effects that happen only if all conditions hold.

    The store does not check a condition that is ``None`` (``KEEP`` for ``if_worker``). It refuses
    every change of a stream that does not exist or is gone.

    Attributes:
        if_status: The stream's status must be one of these.
        if_epoch: The stream's epoch must be this number.
        if_tail: The stream's tail must be this position.
        if_worker: The stream's worker must be this one. ``None``: the stream must have no worker.
        append: Messages to add at the stream's tail. The store ignores the segment's ``position``.
        next_epoch: Add 1 to the stream's epoch. This fences every earlier writer.
        status: The stream's new status. To end the stream, use ``end`` instead.
        end: End the stream: set its status, ``code``, ``message``, ``result`` and ``ended_at``.
        at: The wall time for ``ended_at``. With the status ``streaming``: the wall time for
            ``started_at``, if the stream has no ``started_at`` yet.
        worker, due_at: The stream's new ``worker`` and ``due_at``.
        report: The stream's new ``report``: whether its end must still be reported.
        marks: Marks to set. The store deletes a stream's marks together with the stream.
        max_marks: The store refuses the change if the stream would then have more marks than this.
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
        """True if the only effects of the change are new messages and marks."""
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
    """Changes that the store applies all together or not at all. No two change the same stream."""

    changes: tuple[Change, ...]


@dataclass(slots=True)
class Committed:
    """The outcome of a group whose changes are durable.

    ``heads`` has one item for each change, in the order of the changes.
    """

    heads: tuple[Head, ...]


@dataclass(slots=True)
class Head:
    """A stream's epoch, tail, size and generation after a change.

    ``generation`` is the generation of the stream's last run.
    """

    epoch: int
    tail: int
    size: int
    generation: int


def applied(state: StreamState, change: Change, head: Head | None = None) -> StreamState:
    """Return the state of a stream after a change whose conditions hold.

    ``head`` is the head that the commit returned. Without ``head``, the function assumes that no
    other change came after ``state``.
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
    """The outcome of a group that changed nothing, because ``changes[index]`` was refused.

    ``state`` is the state of the stream of ``changes[index]`` in the same transaction, or ``None``
    if the stream does not exist.
    """

    index: int
    state: StreamState | None


Outcome: TypeAlias = Committed | Refused


@dataclass(frozen=True, slots=True)
class Page:
    """Messages of a stream after a position, and the stream's state in the same snapshot.

    The first segment may begin before the requested position; ``wire.cut`` removes the surplus
    messages. ``end`` is the position after the last segment, or the requested position if there is
    no segment. ``marks`` has the requested marks that exist.
    """

    state: StreamState
    segments: tuple[Segment, ...]
    end: int
    marks: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Read:
    """A stream that ``Store.read_many`` reads, from the position ``after``."""

    stream_id: StreamId
    after: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A filter for ``Store.find``. A stream must match every field that is set.

    ``Store.find`` returns at most ``limit`` streams, the newest first, and none that is gone. For
    the next streams, set ``before`` to the internal id of the last stream in the result.
    """

    stream_ids: tuple[StreamId, ...] | None = None
    owner: str | None = None
    group: str | None = None
    statuses: tuple[Status, ...] | None = None
    worker: str | None | Keep = KEEP
    due_before: float | None = None
    unreported: bool = False
    """If true, find only ended streams that still need their report."""
    before: int | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class WorkerState:
    """The facts in the store that show whether a worker lives.

    Attributes:
        worker: The worker's identity.
        beats: The worker's counter. While the counter grows, the worker lives.
        locked: Whether the worker's lock is held. ``None`` if this host cannot see the lock, for
            instance because the worker runs on another host.
    """

    worker: str
    beats: int
    locked: bool | None


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """The facts about a worker that operators see.

    Attributes:
        worker: The worker's identity.
        locked: The same as ``WorkerState.locked``.
        beat_at: The time of the worker's last beat, by the store's clock.
        said: The worker's last description of itself, as JSON.
    """

    worker: str
    locked: bool | None
    beat_at: float
    said: str


@dataclass(frozen=True, slots=True)
class Roster:
    """All workers, and the time ``now`` at which they were read, by the store's clock."""

    now: float
    workers: tuple[WorkerReport, ...]


@dataclass(frozen=True, slots=True, repr=False)
class StreamBody:
    """A stream with all its messages, as it is stored at one moment.

    All times are seconds since the Unix epoch.

    Attributes:
        text: All pieces of text, joined.
        parts: The text and the JSON objects in their order. Adjacent pieces of text are joined.
            Adjacent objects with pieces of one reasoning, or of one tool call's input, are joined
            too.
        end: How the stream ended, with its stored result; ``None`` until the stream ends.
        metadata: The object that ``create`` got. Clients never receive this object.
        owner: The owner that ``create`` got. Clients never receive the owner.
        group: The group that ``create`` got.
        started_at: When a writer first claimed the stream; ``None`` before that.
        ended_at: When the stream ended; ``None`` before that.
        offset: The offset after this body. From this offset, a reader gets exactly what comes
            after this body.
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
