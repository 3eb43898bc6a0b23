"""The values that ``streams.describe`` returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from inkstream._types import End, Kind, Status, StreamId


@dataclass(frozen=True, slots=True)
class WorkerDescription:
    """The worker that writes a stream, or was the last to write it.

    Attributes:
        name: Its identity; each start of a process has a new one.
        host: The host on which it runs.
        pid: Its process id on that host.
        alive: Whether it is alive; ``None`` if that is unknown.
        evidence: The reason for ``alive``, in words.
        started_at: When it started.
        locked: Whether its process holds its lock, which is released when the process dies;
            ``None`` if that is unknown.
        beat_s: How often it beats.
        lease_s: After how long without a beat it counts as dead.
        beat_at: When it beat last. The fields below were true at that time. ``None``: it is this
            process.
        blocked_s: How long its event loop was blocked at a stretch within the last minute, if that
            was more than a second.
        blocked_at: The line of code that blocked the loop.
        store_away_s: How long its commits had failed within the last minute.
        buffered_bytes: How much text of this stream it had accepted and not yet committed.
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
        here: How many in this process.
        elsewhere: How many in other processes, at their last beats.
        behind: How many are behind the tail and receive nothing.
        behind_s: For how long the slowest has received nothing.
        complete: False if a process has more streams than it reports, so there may be more readers.
    """

    here: int = 0
    elsewhere: int = 0
    behind: int = 0
    behind_s: float = 0.0
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast a stream grew in its writer's last minute."""

    messages_s: float
    bytes_s: float


@dataclass(frozen=True, slots=True)
class Due:
    """What happens to a stream when a time limit passes, and when that is."""

    at: float
    action: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason for a stream's condition.

    Attributes:
        code: A stable word; docs/operations.md lists them all.
        message: A sentence or two for an operator. It never contains text of the stream.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDescription:
    """Everything known about a stream except its text. ``streams.describe`` returns it.

    Attributes:
        at: When this was read, by the store's clock, which ``last_piece_at`` and
            ``worker.beat_at`` use too.
        epoch: How many writers the stream has had.
        last_piece_at: When its last message was committed; ``None`` before the first.
        worker: The worker that writes it, or was the last to write it.
        messages: How many messages it contains (bytes, in a byte stream).
        size: Its stored payload in bytes.
        rates: How fast it grew in the last minute; ``None`` if that is unknown.
        due: What happens to it when its time limit passes.
        end: How it ended.
        causes: The reasons for its condition, the most likely first; at least one.
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
    causes: tuple[Finding, ...]

    @property
    def silent_s(self) -> float | None:
        """Seconds since the last message or, if none, since the claim; ``None`` after the end."""
        since = self.started_at if self.last_piece_at is None else self.last_piece_at
        return None if self.status.ended or since is None else max(0.0, self.at - since)

    def as_json(self) -> dict[str, Any]:
        """Return these attributes and ``silent_s`` as a JSON object; ``size`` becomes ``bytes``."""
        value = asdict(self)
        value["bytes"] = value.pop("size")
        value["silent_s"] = self.silent_s
        return value
