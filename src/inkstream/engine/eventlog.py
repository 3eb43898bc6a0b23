"""One log line an end, and one for what an operator must act on; then whatever else observes."""

from __future__ import annotations

import logging
from contextvars import Context

from inkstream._events import Event, facts
from inkstream._types import Status, StreamState
from inkstream.engine.observer import Ended, Observer

_log = logging.getLogger("inkstream")

_BLOCKED_S = 1.0


class EventLog(Observer):
    """Log what happens, and pass it on to another observer.

    Args:
        then: The other observer; by default one that does nothing.
    """

    def __init__(self, then: Observer | None = None) -> None:
        self._then = Observer() if then is None else then
        self.samples_sends = self._then.samples_sends
        self.opened = self._then.opened  # type: ignore[method-assign]
        self.closed = self._then.closed  # type: ignore[method-assign]
        self.sent = self._then.sent  # type: ignore[method-assign]
        self.claimed = self._then.claimed  # type: ignore[method-assign]
        self.first_piece = self._then.first_piece  # type: ignore[method-assign]
        self.committed = self._then.committed  # type: ignore[method-assign]
        self.store_failed = self._then.store_failed  # type: ignore[method-assign]
        self.swept = self._then.swept  # type: ignore[method-assign]
        self.tidied = self._then.tidied  # type: ignore[method-assign]

    def running(self, stream: StreamState, context: Context) -> None:
        """Pass it on."""
        self._then.running(stream, context)

    def ended(self, ended: Ended) -> None:
        """Log an end with its figures."""
        stream, end = ended.stream, ended.end
        level = logging.INFO if end.status in (Status.DONE, Status.CANCELLED) else logging.WARNING
        _log.log(
            level,
            "stream %r ended %s%s",
            stream.stream_id,
            end.status,
            "" if end.code is None else f" ({end.code})",
            extra=facts(
                Event.STREAM_ENDED,
                stream_id=stream.stream_id,
                owner=stream.owner,
                status=end.status.value,
                code=end.code,
                writer=stream.worker or stream.writer,
                first_piece_s=ended.first_piece_s,
                duration_s=ended.duration_s,
                characters=ended.characters,
                readers=ended.readers,
            ),
        )
        self._then.ended(ended)

    def fenced(self, stream: StreamState, status: str | None) -> None:
        """Log a writer that lost its stream."""
        _log.info(
            "the writer of stream %r lost it: %s",
            stream.stream_id,
            "it was deleted" if status is None else f"it is {status}",
            extra=facts(Event.WRITER_FENCED, stream_id=stream.stream_id, status=status),
        )
        self._then.fenced(stream, status)

    def store_away(self, error: Exception) -> None:
        """Log the begin of an outage."""
        _log.warning(
            "the store is away, nothing is shown until it is back: %s",
            error,
            extra=facts(Event.STORE_AWAY),
        )
        self._then.store_away(error)

    def store_back(self, seconds: float) -> None:
        """Log the end of an outage."""
        _log.warning(
            "the store is back after %.1f s", seconds, extra=facts(Event.STORE_BACK, away_s=seconds)
        )
        self._then.store_back(seconds)

    def worker_dead(self, worker: str, streams: int) -> None:
        """Log a death that left streams behind."""
        _log.warning(
            "worker %s is dead; %d streams of it were ended or let go",
            worker,
            streams,
            extra=facts(Event.WORKER_DEAD, worker=worker, streams=streams),
        )
        self._then.worker_dead(worker, streams)

    def lagged(self, seconds: float) -> None:
        """Log a loop that was blocked."""
        if seconds > _BLOCKED_S:
            _log.warning(
                "the event loop turns again; it was blocked for %.1f s",
                seconds,
                extra=facts(Event.LOOP_TURNS, seconds=seconds),
            )
        self._then.lagged(seconds)
