"""The values that ``streams.describe`` returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from inkstream._types import End, Kind, Status, StreamId


@dataclass(frozen=True, slots=True)
class WorkerDescription:
    """The worker that writes a stream, or that was the last to write the stream.

    Attributes:
        name: The worker's name. After a restart of the process, its worker has another name.
        host: The host on which the worker runs.
        pid: The worker's process id on that host.
        alive: Whether the worker is alive; ``None`` if this is unknown.
        evidence: The reason for ``alive``, in words.
        started_at: When the worker started.
        locked: Whether the worker's process holds the worker's lock, which is released when the
            process dies; ``None`` if that is unknown.
        beat_s: The seconds between two beats of the worker.
        lease_s: The seconds without a beat after which other workers take the worker for dead.
        beat_at: When the worker beat last; ``None`` if the worker is this process or is no longer
            listed. The fields below are from the worker's last beat. If the worker is this process,
            these fields are current. If the worker is no longer listed, these fields are 0 or
            ``None``.
        blocked_s: The longest time within the last minute for which the worker's event loop was
            blocked; 0 if that was at most a second.
        blocked_at: The line of code that blocked the event loop.
        store_away_s: For how many seconds the worker's commits failed without a success in between;
            0 if no commit failed within the last minute.
        buffered_bytes: How many bytes of this stream the worker had accepted but not committed.
    """

    name: str
    host: str | None
    pid: int | None
    alive: bool | None
    evidence: str
    started_at: float | None = None
    locked: bool | None = None
    beat_s: float = 3.0
    lease_s: float = 12.0
    beat_at: float | None = None
    blocked_s: float = 0.0
    blocked_at: str | None = None
    store_away_s: float = 0.0
    buffered_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ReaderCounts:
    """The readers of a stream.

    Attributes:
        here: How many readers this process has.
        elsewhere: How many readers other processes had at their last beats.
        behind: How many readers are behind the stream's tail and receive nothing.
        behind_s: For how long the slowest reader has received nothing.
        complete: False if a process reports only some of its streams, so that there may be more
            readers.
    """

    here: int = 0
    elsewhere: int = 0
    behind: int = 0
    behind_s: float = 0.0
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Rates:
    """How much a stream grew per second, in the minute before its writer's last beat."""

    messages_s: float
    bytes_s: float


@dataclass(frozen=True, slots=True)
class Due:
    """What happens to a stream when a time limit passes (``action``), and at what time (``at``)."""

    at: float
    action: str


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason for a stream's state.

    Attributes:
        code: A stable word; docs/operations.md lists all codes.
        message: A sentence or two for an operator. The message never contains text of the stream.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDescription:
    """What ``streams.describe`` returns: everything known about a stream, except its text.

    Attributes:
        at: When the description was read, by the store's clock. ``last_piece_at`` and
            ``worker.beat_at`` use the same clock.
        epoch: A number that grows with each claim and each take-over.
        last_piece_at: When the stream's last message was committed; ``None`` before the first
            message.
        worker: The worker that writes the stream, or that was the last to write the stream.
        messages: How many messages the stream contains (in a byte stream, how many bytes).
        size: The stored payload of the stream in bytes.
        rates: How fast the stream grew in the last minute; ``None`` if that is unknown.
        due: What happens to the stream when its time limit passes; ``None`` without a limit.
        end: How the stream ended; ``None`` before its end.
        causes: The reasons for the stream's state, the most likely first; at least one.
    """

    at: float
    stream_id: StreamId
    kind: Kind
    status: Status
    epoch: int
    owner: str | None
    group: str | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    last_piece_at: float | None
    worker: WorkerDescription | None
    readers: ReaderCounts
    messages: int
    size: int
    rates: Rates | None
    due: Due | None
    end: End | None
    causes: tuple[Cause, ...]

    @property
    def silent_s(self) -> float | None:
        """Seconds since the last message, or since the claim if there is no message yet.

        ``None`` if the stream has neither a message nor a claim, or has ended.
        """
        since = self.started_at if self.last_piece_at is None else self.last_piece_at
        return None if self.status.ended or since is None else max(0.0, self.at - since)

    def as_json(self) -> dict[str, Any]:
        """Return these attributes and ``silent_s`` as a JSON object; ``size`` becomes ``bytes``."""
        value = asdict(self)
        value["bytes"] = value.pop("size")
        value["silent_s"] = self.silent_s
        return value
