"""The limits and times that an application may set, and their defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from inkstream._arguments import MOST, MOST_BYTES, check_count, check_seconds
from inkstream._errors import MessageTooLarge, StreamTooLarge

_MIB: Final = 1024 * 1024

_PACES: Final = ("beat_s", "sweep_s", "poll_s", "tidy_s")
"""The pauses of repeated work. With a pause of 0, the work would use a whole CPU core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limit what streams may cost.

    Each limit counts per process, unless its description says *everywhere*.

    Attributes:
        message_bytes: One message, the metadata of a stream, or one result, in bytes of UTF-8;
            *everywhere*.
        stream_bytes: All messages of one stream; *everywhere*. A source that writes more ends
            its stream ``error``, code ``stream_too_large``.
        buffer_bytes: Text of one writer that is accepted and not yet committed; ``append`` waits
            while the buffer is full.
        readers_per_stream: Connected readers of one stream.
        readers: Connected readers of all streams.
        live_streams: Streams that this process writes at the same time.
        live_streams_per_owner: ``pending`` and ``streaming`` streams of one ``owner``;
            *everywhere*, checked when a stream is created.
    """

    message_bytes: int = _MIB
    stream_bytes: int = 64 * _MIB
    buffer_bytes: int = 256 * 1024
    readers_per_stream: int = 10_000
    readers: int = 50_000
    live_streams: int = 10_000
    live_streams_per_owner: int = 100

    @property
    def buffers_bytes(self) -> int:
        """When all writers together have this many uncommitted bytes, ``append`` usually waits."""
        return 64 * _MIB

    @property
    def tail_bytes(self) -> int:
        """How many bytes of a live stream's newest messages a process keeps in memory."""
        return _MIB // 4

    @property
    def page_bytes(self) -> int:
        """How many bytes of older messages a reader reads from the store at a time."""
        return _MIB

    @property
    def marks_per_stream(self) -> int:
        """The maximum number of marks of one stream. Each Durable Streams producer needs one."""
        return 10_000

    def check_message(self, stream_id: str, size: int, what: str = "a message") -> None:
        """Raise ``MessageTooLarge`` if ``what``, of ``size`` bytes, is too large for a message."""
        if size > self.message_bytes:
            raise MessageTooLarge(
                f"{what} of {size} bytes for stream {stream_id!r} is larger than "
                f"Limits.message_bytes ({self.message_bytes})",
                limit=self.message_bytes,
                actual=size,
            )

    def check_stream(self, stream_id: str, size: int) -> None:
        """Raise ``StreamTooLarge`` if a stream of ``size`` bytes is too large."""
        if size > self.stream_bytes:
            raise StreamTooLarge(
                f"stream {stream_id!r} would grow to {size} bytes, past Limits.stream_bytes "
                f"({self.stream_bytes})",
                limit=self.stream_bytes,
                actual=size,
            )

    def __post_init__(self) -> None:
        for field in fields(self):
            most = MOST_BYTES if field.name.endswith("_bytes") else MOST
            check_count(f"{type(self).__name__}.{field.name}", getattr(self, field.name), most=most)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinerLimits(Limits):
    """``Limits`` with more fields. Only tests and measurements set the additional fields."""

    buffers_bytes: int = 64 * _MIB
    tail_bytes: int = _MIB // 4
    page_bytes: int = _MIB
    marks_per_stream: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Set how long inkstream waits, and how often it acts. All times are in seconds.

    Attributes:
        latency_window_s: The shortest time between two commits. After a pause, a commit starts
            immediately.
        throughput_window_s: Under load, the time between two commits grows up to this time.
        start_within_s: A text stream that is not claimed within this time ends ``timeout``.
        appears_within_s: How long ``start`` waits for a stream that does not exist yet, because the
            transaction that creates it has not committed.
        idle_s: A stream whose writer appends nothing for this long ends ``timeout``.
        total_s: A stream that has the same writer for this long ends ``timeout``.
        retain_s: An ended stream is deleted this long after its end; ``None``: never.
        takeover_within_s: For this long after a stream's writer died or let go, another writer may
            take over the stream. After that, the stream ends ``timeout``. If this is 0 and the
            writer let go, ``start_within_s`` is used instead.
        patience_s: How long a writer waits for a store that is away, before the writer gives up.
        disconnect_grace_s: With ``on_disconnect="cancel"``: how long a stream may have no reader.
            At least 4 s are used, so that readers in other processes are noticed.
        shutdown_grace_s: How long running answers may go on after SIGTERM.
    """

    latency_window_s: float = 0.005
    throughput_window_s: float = 0.05
    start_within_s: float = 20 * 60
    appears_within_s: float = 10.0
    idle_s: float | None = None
    total_s: float | None = None
    retain_s: float | None = None
    takeover_within_s: float = 0.0
    patience_s: float = 30.0
    disconnect_grace_s: float = 10.0
    shutdown_grace_s: float = 10.0

    @property
    def beat_s(self) -> float:
        """The pause between two beats of a worker that writes or follows streams."""
        return 3.0

    @property
    def lease_s(self) -> float:
        """How long a worker's counter may stay the same before the worker is taken for dead.

        Usually the lock of a dead worker shows the death much sooner.
        """
        return 12.0

    @property
    def stall_s(self) -> float:
        """How long code may block the event loop before this worker lets its streams go."""
        return 60.0

    @property
    def sweep_s(self) -> float:
        """The pause between two searches for dead workers."""
        return 0.5

    @property
    def poll_s(self) -> float:
        """The pause between two reads of the streams that a process follows, if no hint comes."""
        return 2.0

    @property
    def tidy_s(self) -> float:
        """The pause between two steps of ``Store.tidy``, unless a step left more work."""
        return 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            check_seconds(
                f"{type(self).__name__}.{field.name}",
                getattr(self, field.name),
                none=field.default is None,
                zero=field.name not in (*_PACES, "idle_s", "total_s"),
            )
        if self.lease_s < 3 * self.beat_s:
            raise ValueError(
                f"{type(self).__name__}.lease_s ({self.lease_s}) must be at least three beats "
                f"(beat_s is {self.beat_s}), or healthy workers are taken for dead"
            )
        if self.throughput_window_s < self.latency_window_s:
            raise ValueError("Timing.throughput_window_s must not be below latency_window_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinerTiming(Timing):
    """``Timing`` with more fields. Only tests and measurements set the additional fields.

    All processes that use one database need the same ``beat_s`` and the same ``lease_s``.
    """

    beat_s: float = 3.0
    lease_s: float = 12.0
    stall_s: float = 60.0
    sweep_s: float = 0.5
    poll_s: float = 2.0
    tidy_s: float = 1.0
