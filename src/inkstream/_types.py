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
"""Anything that JSON can say."""

_STREAM_ID = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,512}", re.ASCII)


class StreamId(str):
    """Name a stream: 1 to 512 characters, no control characters.

    A ``StreamId`` is a ``str`` that was checked, and may be used as a type in pydantic models and
    in FastAPI path parameters, where a malformed one becomes a validation error.

    Raises:
        InvalidStreamId: The text cannot name a stream.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        if not isinstance(value, str) or _STREAM_ID.fullmatch(value) is None:
            raise InvalidStreamId(value)
        return super().__new__(cls, value)

    @classmethod
    def generate(cls) -> Self:
        """Return a fresh id with 128 random bits, safe in a URL path without escaping."""
        made = secrets.token_urlsafe(16)
        # A command would take one that begins so for an option.
        return cls.generate() if made.startswith("-") else cls(made)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(min_length=1, max_length=512)
        )


class Kind(StrEnum):
    """Say who may write: one writer with an end in sight (text), or many with none (log)."""

    TEXT = "text"
    LOG = "log"


class Status(StrEnum):
    """Say where a stream is in its life; the whole table of transitions is in docs/concepts.md."""

    PENDING = "pending"
    STREAMING = "streaming"
    OPEN = "open"
    DONE = "done"
    ERROR = "error"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"

    @property
    def ended(self) -> bool:
        """True when nothing can be appended any more, for ever."""
        return self in _ENDED


_STOPPED: Final = frozenset({Status.CANCELLED, Status.TIMEOUT})
_ENDED: Final = _STOPPED | {Status.DONE, Status.ERROR}

JSON_CONTENT: Final = "application/json"
"""The content type whose streams count messages; all others count bytes."""


class Keep(Enum):
    """The type of ``KEEP``: leave the field as it is."""

    KEEP = "keep"

    def __repr__(self) -> str:
        return "KEEP"


KEEP: Final = Keep.KEEP


@dataclass(frozen=True, slots=True)
class End:
    """How a stream ended: the terminal status, with words for the application and its users.

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
        """The end as the terminal event has it, which is the same for every reader (G5).

        A writer whose stream was stopped elsewhere may add its result later. So the terminal
        event of a cancelled or timed out stream has none; the stored stream has it.
        """
        if self.result is None or self.status not in _STOPPED:
            return self
        return replace(self, result=None)


# The values that every commit makes are not declared frozen, though nobody changes them: making a
# frozen one costs a call a field, which was a tenth of what the engine does for a token.


@dataclass(slots=True)
class Segment:
    """A run of consecutive messages of one stream, as it is stored and published.

    Attributes:
        position: Where the run starts: messages before it, or bytes before it in a byte stream.
        count: How many messages it holds, or bytes in a byte stream; never zero.
        payload: The messages' bytes, joined.
        index: Where each message ends and of what kind it is (see ``wire``); empty for bytes.
    """

    position: int
    count: int
    payload: bytes
    index: bytes

    @property
    def end(self) -> int:
        """The position after the run."""
        return self.position + self.count


@dataclass(frozen=True, slots=True)
class StreamState:
    """Everything that is known of a stream except its text, as of one snapshot of the store.

    Times are seconds since the Unix epoch. ``tail`` is the position after the last message (a
    count of bytes in a byte stream) and ``size`` the stored payload in bytes. ``worker`` names who
    owes the stream its next step: the writer's worker while it is ``streaming``, the one that is
    to report the end (``report``) afterwards, ``None`` when nobody holds it. ``due_at`` is when
    time acts on it: a ``pending`` stream, or a ``streaming`` one that its writer let go, ends
    ``timeout``; one that is to stop with its readers is ``cancelled``, unless a reader's worker
    takes that time away before; an ended or open one is deleted.
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
    """Deleted, but kept because forks still read its messages."""
    appended_at: float | None = field(default=None, compare=False)
    """When the last message came, by the store's own clock; for display only."""
    writer: str | None = field(default=None, compare=False)
    """The worker that claimed the stream last; unlike ``worker`` it stays after the end."""
    runs: Runs = ()
    """The generations of its messages."""

    @property
    def ended(self) -> bool:
        """True when the status is a terminal one."""
        return self.status.ended

    @property
    def end(self) -> End | None:
        """How the stream ended as its terminal event says it; ``None`` while it has not.

        ``result`` has the result of a stopped stream too, which no terminal event has.
        """
        if not self.status.ended:
            return None
        return End(self.status, self.code, self.message, self.result).terminal

    @property
    def counts_bytes(self) -> bool:
        """True for a byte stream: positions count bytes and segments have no index."""
        return self.content_type.partition(";")[0].strip().lower() != JSON_CONTENT

    def deletion_due(self, ended_at: float) -> float | None:
        """Return when the stream is deleted if it ends at a wall time; ``None``: never."""
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
        """Return a change that the store refuses unless the stream is still as seen here.

        Status, epoch and worker must be the same; text may have been added. The arguments are
        what the change does: see ``Change``.
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
    """What ``Store.create`` writes: a state that has no history yet.

    ``fork`` makes the stream begin with another's messages up to a position. ``max_live`` bounds
    the owner's streams that are ``pending`` or ``streaming``; checked in the same transaction.
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
    """Where a new stream branches off: the source, and the position up to which it inherits."""

    source: int
    position: int


@dataclass(slots=True, kw_only=True)
class Change:
    """One stream's part of a ``Group``: what must hold, and what then happens, in one step.

    A precondition that is ``None`` (``KEEP`` for ``if_worker``) is not checked. A stream that does
    not exist, was deleted, or is kept only for its forks refuses every change.

    Attributes:
        internal_id: The stream, by the identity that is never reused.
        if_status: The status must be one of these.
        if_epoch: The epoch must be this.
        if_tail: The tail must be this.
        if_worker: The worker must be this (``None``: nobody).
        append: Messages to add at the tail; its ``position`` is ignored.
        next_epoch: Add one to the epoch, which fences every earlier writer.
        status: The status to set; an ended one needs ``end`` instead.
        end: End the stream so; sets status, code, message, result and ``ended_at``.
        at: The wall time that ``started_at`` (first ``streaming``) and ``ended_at`` become.
        worker: The worker that owes the next step from now on.
        due_at: When time acts on the stream from now on.
        report: Whether its end is still to be reported.
        marks: Keyed rows of the stream to set; they die with it.
        max_marks: Refuse the change if a new mark would make them more than this.
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
        """True if it moves nothing but the tail (and marks)."""
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
    """Changes that happen together or not at all, at most one for each stream."""

    changes: tuple[Change, ...]


@dataclass(slots=True)
class Committed:
    """A group took effect and is durable. ``heads`` are in the order of its changes."""

    heads: tuple[Head, ...]


@dataclass(slots=True)
class Head:
    """The few fields that move with every commit, as a change left them.

    ``generation`` is that of the stream's last run.
    """

    epoch: int
    tail: int
    size: int
    generation: int


def applied(state: StreamState, change: Change, head: Head | None = None) -> StreamState:
    """Return what a change makes of a state.

    Args:
        state: The stream before the change.
        change: The change, whose preconditions hold.
        head: The fields after the commit; without it, those if no other commit comes
            between.
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
    """A group had no effect, because a precondition of ``changes[index]`` did not hold.

    ``state`` is that stream's state in the same transaction; ``None``: there is no such stream.
    """

    index: int
    state: StreamState | None


Outcome: TypeAlias = Committed | Refused


@dataclass(frozen=True, slots=True)
class Page:
    """Messages after a position, with the state of the same snapshot.

    The first segment may begin before the position asked for (it is cut by ``wire.cut``).
    ``marks`` holds those asked for that exist.
    """

    state: StreamState
    segments: tuple[Segment, ...]
    end: int
    marks: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def closed(self) -> bool:
        """True only if the stream has ended and nothing follows this page."""
        return self.state.status.ended and self.end >= self.state.tail


@dataclass(frozen=True, slots=True)
class Read:
    """One stream of a ``Store.read_many``, and the position after which to read it."""

    stream_id: StreamId
    after: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which streams ``Store.find`` returns: those that meet every condition that is given.

    Newest first. ``before`` is the internal id after which the last page ended. Streams that are
    gone are never found.
    """

    stream_ids: tuple[StreamId, ...] | None = None
    owner: str | None = None
    group: str | None = None
    statuses: tuple[Status, ...] | None = None
    worker: str | None | Keep = KEEP
    due_before: float | None = None
    unreported: bool = False
    """Ended, with the report of the end still owed."""
    before: int | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker as the store sees it.

    Attributes:
        worker: Its identity.
        beats: A counter that a living worker moves; only its movement means anything.
        locked: Whether the lock that dies with the worker is held; ``None``: it cannot be seen
            from here (another host), so only the beats count.
    """

    worker: str
    beats: int
    locked: bool | None


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A worker as operators see it.

    Attributes:
        worker: Its identity.
        locked: As in ``WorkerState``.
        beat_at: When it beat last, by the store's clock.
        said: Its word about itself with that beat: JSON text, opaque to the store.
    """

    worker: str
    locked: bool | None
    beat_at: float
    said: str


@dataclass(frozen=True, slots=True)
class Roster:
    """All workers, and the time by the store's clock when they were read."""

    now: float
    workers: tuple[WorkerReport, ...]


@dataclass(frozen=True, slots=True, repr=False)
class StreamBody:
    """A stream as it is stored at one moment, live or finished.

    Attributes:
        stream_id: The stream's name.
        status: Where it is in its life.
        text: The pieces of text, joined.
        parts: Text and JSON objects in order, adjacent text joined.
        end: How the stream ended, with the application's own result; ``None`` until then.
        metadata: The object given to ``create``; never sent to clients.
        owner: The owner given to ``create``; never sent to clients.
        group: The group given to ``create``.
        created_at: Seconds since the Unix epoch, as all times here.
        started_at: When a writer first claimed it.
        ended_at: When it ended.
        offset: Where a reader goes on from that has all this.
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
