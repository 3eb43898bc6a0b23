"""The events of an engine, for logs, metrics and traces.

``Observer`` does nothing: a subclass takes what it wants. The engine calls it on its event loop, at
most once a commit and never for a token.
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
        stream: Its state when it was claimed, or when another process's end of it was decided.
        end: The end.
        duration_s: From its claim, or creation where it was not written here.
        first_piece_s: From its claim to its first committed piece; ``None`` if none came, or if it
            was not written here.
        characters: How many characters were committed since the claim, those of JSON parts
            included; ``None`` where it was not written here.
        readers: How many readers it had in this process.
    """

    stream: StreamState
    end: End
    duration_s: float
    first_piece_s: float | None = None
    characters: int | None = None
    readers: int = 0


@dataclass(frozen=True, slots=True)
class Gauges:
    """Numbers of an engine that move all the time, read when somebody asks for them.

    Attributes:
        live: Streams that it writes.
        readers: Its connected readers.
        buffered_bytes: Text that its writers accepted and that is not committed.
    """

    live: int
    readers: int
    buffered_bytes: int


class Observer:
    """Take note of what an engine does; every method does nothing here.

    Attributes:
        samples_sends: Whether ``sent`` is to be called.
    """

    samples_sends = False

    def opened(self, gauges: Callable[[], Gauges]) -> None:
        """Note an engine that starts; ``gauges`` may be called from any thread until ``closed``."""

    def closed(self, gauges: Callable[[], Gauges]) -> None:
        """Note that it stops."""

    def sent(self, seconds: float) -> None:
        """Note how long after its commit a reader's send was over, of about 8 sends a second."""

    def claimed(self, stream: StreamState) -> None:
        """Note that this worker writes a stream from now on."""

    def running(self, stream: StreamState, context: Context) -> None:
        """Note that a claimed stream's source is about to run in this copy of a request's context.

        The source sees values set in it, such as a current span.
        """

    def first_piece(self, stream: StreamState, seconds: float) -> None:
        """Note the first commit of a stream's text, and the seconds since its claim."""

    def ended(self, ended: Ended) -> None:
        """Note that this worker committed a stream's end."""

    def fenced(self, stream: StreamState, status: str | None) -> None:
        """Note that a writer of this worker lost its stream to another worker or an outer end."""

    def committed(self, seconds: float, groups: Sequence[Group]) -> None:
        """Note a commit, how long it took, and what was in it; some of it may have been refused."""

    def store_failed(self, error: Exception) -> None:
        """Note a commit that failed because the store is away."""

    def store_away(self, error: Exception) -> None:
        """Note the first failure of an outage."""

    def store_back(self, seconds: float) -> None:
        """Note that commits work again, after this many seconds."""

    def worker_dead(self, worker: str, streams: int) -> None:
        """Note that another worker was found dead, and how many streams it had."""

    def swept(self, seconds: float) -> None:
        """Note a look for the dead."""

    def tidied(self, seconds: float) -> None:
        """Note a step of housekeeping."""

    def lagged(self, seconds: float) -> None:
        """Note by how much a tick of the event loop came late, four times a second."""
