"""The events of an engine, for logs, metrics and traces.

``Observer`` does nothing: a subclass overrides the methods for the events that it wants. The engine
calls an observer on the engine's event loop, at most once per commit and never for a single token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass

from inkstream._types import End, Group, StreamState


@dataclass(frozen=True, slots=True)
class Ended:
    """How a stream ended.

    Attributes:
        stream: The stream's state at the claim. If another process wrote the stream: the state
            before the end.
        end: The stream's status, code, message and result.
        duration_s: Seconds from the claim to the end. If another process wrote the stream: seconds
            from its creation to the end.
        first_piece_s: Seconds from the claim to the first committed piece; ``None`` if there was no
            piece, or if another process wrote the stream.
        characters: The characters committed since the claim, including JSON parts; ``None`` if
            another process wrote the stream.
        readers: How many readers the stream had in this process.
    """

    stream: StreamState
    end: End
    duration_s: float
    first_piece_s: float | None = None
    characters: int | None = None
    readers: int = 0


@dataclass(frozen=True, slots=True)
class Gauges:
    """Numbers of an engine that change all the time. They are computed when they are read.

    Attributes:
        live: How many streams the engine writes.
        readers: How many readers are connected to the engine.
        buffered_bytes: How many bytes the engine's writers have accepted but not committed.
    """

    live: int
    readers: int
    buffered_bytes: int


class Observer:
    """Record what an engine does. In this class, every method does nothing.

    Attributes:
        samples_sends: Whether the engine calls ``sent``.
    """

    samples_sends = False

    def opened(self, gauges: Callable[[], Gauges]) -> None:
        """Record an engine's start. Any thread may call ``gauges`` until ``closed``."""

    def closed(self, gauges: Callable[[], Gauges]) -> None:
        """Record an engine's stop."""

    def sent(self, seconds: float) -> None:
        """Record how long after its commit text was sent to a reader: about 8 sends a second."""

    def claimed(self, stream: StreamState) -> None:
        """Record that this worker has claimed a stream."""

    def running(self, stream: StreamState, context: Context) -> None:
        """Record that a claimed stream's source will now run in this copy of the request's context.

        A value that is set in the context, such as a current span, is visible to the source.
        """

    def first_piece(self, stream: StreamState, seconds: float) -> None:
        """Record the first commit of a stream's text, and the seconds since its claim."""

    def ended(self, ended: Ended) -> None:
        """Record that this worker committed a stream's end."""

    def fenced(self, stream: StreamState, status: str | None) -> None:
        """Record that a writer of this worker lost its stream to another worker or to a cancel."""

    def committed(self, seconds: float, groups: Sequence[Group]) -> None:
        """Record a commit, its duration, and its groups. Some groups may have been refused."""

    def store_failed(self, error: Exception) -> None:
        """Record that a commit failed because the store is away."""

    def store_away(self, error: Exception) -> None:
        """Record the first failure of an outage."""

    def store_back(self, seconds: float) -> None:
        """Record that commits work again, and for how many seconds they have failed."""

    def worker_dead(self, worker: str, streams: int) -> None:
        """Record that another worker is dead, and how many streams it had."""

    def swept(self, seconds: float) -> None:
        """Record one sweep."""

    def tidied(self, seconds: float) -> None:
        """Record one step of housekeeping."""

    def lagged(self, seconds: float) -> None:
        """Record how late a tick of the event loop came. There are four ticks a second."""
