"""The events of an engine, for logs, metrics and traces.

A subclass of ``Observer`` overrides the methods for the events that it records. The engine calls
these methods on its event loop. There is no event for a single token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass

from inkstream._types import End, Group, StreamState


@dataclass(frozen=True, slots=True)
class Ended:
    """Facts about a stream that has ended.

    The end was committed either by the stream's writer, or by another operation (a cancel, a sweep,
    the close of a log).

    Attributes:
        stream: The stream's state after the writer's claim. For an end by another operation: the
            stream's state before the end.
        end: The stream's status, code, message and result.
        duration_s: Seconds from the writer's claim to the end. For an end by another operation:
            seconds from the first claim, or from the creation if no writer claimed the stream.
        first_piece_s: Seconds from the claim to the writer's first commit of text. ``None`` if
            there was no such commit, or for an end by another operation.
        characters: The number of characters that the writer has accepted, including JSON parts.
            ``None`` for an end by another operation.
        readers: The number of readers that the stream had in this process at the end.
    """

    stream: StreamState
    end: End
    duration_s: float
    first_piece_s: float | None = None
    characters: int | None = None
    readers: int = 0


@dataclass(frozen=True, slots=True)
class Gauges:
    """Numbers that describe an engine at one moment.

    Attributes:
        live: The number of streams that the engine writes.
        readers: The number of readers that are connected to the engine.
        buffered_bytes: The number of bytes that all writers have accepted but not committed.
    """

    live: int
    readers: int
    buffered_bytes: int


class Observer:
    """Record nothing. Subclasses record what an engine does.

    Attributes:
        samples_sends: True if the server must measure sends and call ``sent``.
    """

    samples_sends = False

    def opened(self, gauges: Callable[[], Gauges]) -> None:
        """Record an engine's start. Until ``closed`` is called, any thread may call ``gauges``."""

    def closed(self, gauges: Callable[[], Gauges]) -> None:
        """Record an engine's stop."""

    def sent(self, seconds: float) -> None:
        """Record the seconds from a commit of text until the text has been sent to one reader.

        The server measures at most about 8 sends a second.
        """

    def claimed(self, stream: StreamState) -> None:
        """Record that this worker has claimed a stream."""

    def running(self, stream: StreamState, context: Context) -> None:
        """Record that the source of a claimed stream will now run in ``context``.

        ``context`` is a copy of the context in which the application called ``start``. The source
        sees values that this method sets in ``context``, such as the current span. ``write()``
        calls this method too, but nothing runs in this ``context``.
        """

    def first_piece(self, stream: StreamState, seconds: float) -> None:
        """Record a writer's first commit of text, ``seconds`` after the writer's claim."""

    def ended(self, ended: Ended) -> None:
        """Record that this worker committed a stream's end."""

    def fenced(self, stream: StreamState, status: str | None) -> None:
        """Record that a writer of this worker lost its stream, usually to another operation.

        ``stream`` is the stream's state after the claim. ``status`` is the stream's status now, or
        ``None`` if the stream was deleted.
        """

    def committed(self, seconds: float, groups: Sequence[Group]) -> None:
        """Record a commit that took ``seconds``. The store may have refused some of ``groups``."""

    def store_failed(self, error: Exception) -> None:
        """Record that a commit failed."""

    def store_away(self, error: Exception) -> None:
        """Record the first failed commit of an outage."""

    def store_back(self, seconds: float) -> None:
        """Record that a commit succeeded, ``seconds`` after the first failure of an outage."""

    def worker_dead(self, worker: str, streams: int) -> None:
        """Record a worker's death. ``streams`` counts its live streams and its unreported ends."""

    def swept(self, seconds: float) -> None:
        """Record that a search for dead workers, and the actions after it, took ``seconds``."""

    def tidied(self, seconds: float) -> None:
        """Record a step of ``Store.tidy`` that took ``seconds``."""

    def lagged(self, seconds: float) -> None:
        """Record that a tick came ``seconds`` late. The event loop has four ticks in a second."""
