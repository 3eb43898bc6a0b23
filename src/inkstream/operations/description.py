"""The values that ``streams.describe`` returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from inkstream._types import End, Kind, Status, StreamId


@dataclass(frozen=True, slots=True)
class WorkerDescription:
    """The worker that writes a stream, or wrote it last.

    Attributes:
        name: Its identity, new with every start of a process.
        host: The host it runs on.
        pid: Its process id there.
        alive: Whether it lives; ``None`` if that cannot be told.
        evidence: How that is known, in words.
        started_at: When it started.
        locked: Whether it holds the lock that dies with its process; ``None``: it cannot be told.
        beat_s: How often it beats.
        lease_s: After how long without a beat it is taken for dead.
        beat_at: When it beat last; all below is as of then. ``None``: it is this process.
        blocked_s: How long its event loop had not turned, if that was above a second.
        blocked_at: Where in the code the loop stood.
        store_away_s: How long its commits had failed lately.
        buffered_bytes: Text of this stream that it had accepted and not committed.
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
        here: In this process.
        elsewhere: In other processes, as of their last beats.
        behind: Those that have stood still behind the tail.
        behind_s: For how long the slowest has.
        complete: False if a process has more streams than it lists: there may be more readers.
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
    """What time will do to a stream, and when."""

    at: float
    action: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that explains why a stream is as it is.

    Attributes:
        code: A stable word; docs/operations.md lists them.
        message: A sentence or two for an operator; never text of the stream.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDescription:
    """All that is known of a stream except its text; what ``streams.describe`` returns.

    Attributes:
        at: When this was read, by the store's clock, as ``last_piece_at`` and ``worker.beat_at``.
        epoch: How many writers it has had.
        last_piece_at: When its last message was committed; ``None`` before the first.
        worker: The worker that writes it, or wrote it last.
        messages: How many messages it holds (bytes, in a byte stream).
        size: Its stored payload in bytes.
        rates: How fast it grew in the last minute; ``None`` if that is not known.
        due: What time will do to it.
        end: How it ended.
        causes: Why it is as it is, the most telling first; at least one.
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
        """How long ago the last message came, or the claim if none has; ``None`` once ended."""
        since = self.started_at if self.last_piece_at is None else self.last_piece_at
        return None if self.status.ended or since is None else max(0.0, self.at - since)

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object: these attributes, ``silent_s``, and ``size`` as ``bytes``."""
        value = asdict(self)
        value["bytes"] = value.pop("size")
        value["silent_s"] = self.silent_s
        return value
