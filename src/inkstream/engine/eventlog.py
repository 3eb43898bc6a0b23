"""Logs the events of an engine that operators need, for example ends of streams and outages."""
# ruff: noqa: D102  (the docstrings of ``Observer`` describe the methods)

from __future__ import annotations

import logging

from inkstream._events import LogEvent, facts
from inkstream._types import Status, StreamState
from inkstream.engine.observer import Ended, Observer

_log = logging.getLogger("inkstream")

_BLOCKED_S = 1.0


class EventLog(Observer):
    """Write some events of an engine to the log ``inkstream``."""

    def ended(self, ended: Ended) -> None:
        stream, end = ended.stream, ended.end
        level = logging.INFO if end.status in (Status.DONE, Status.CANCELLED) else logging.WARNING
        _log.log(
            level,
            "stream %r ended %s%s",
            stream.stream_id,
            end.status,
            "" if end.code is None else f" ({end.code})",
            extra=facts(
                LogEvent.STREAM_ENDED,
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

    def fenced(self, stream: StreamState, status: str | None) -> None:
        _log.info(
            "the writer of stream %r lost the stream: %s",
            stream.stream_id,
            "it was deleted" if status is None else f"it is {status}",
            extra=facts(LogEvent.WRITER_FENCED, stream_id=stream.stream_id, status=status),
        )

    def store_away(self, error: Exception) -> None:
        _log.warning(
            "the store is away, nothing is shown until it is back: %s",
            error,
            extra=facts(LogEvent.STORE_AWAY),
        )

    def store_back(self, seconds: float) -> None:
        _log.warning(
            "the store is back after %.1f s",
            seconds,
            extra=facts(LogEvent.STORE_BACK, away_s=seconds),
        )

    def worker_dead(self, worker: str, streams: int) -> None:
        _log.warning(
            "worker %s is dead; %d streams of it were ended or let go",
            worker,
            streams,
            extra=facts(LogEvent.WORKER_DEAD, worker=worker, streams=streams),
        )

    def lagged(self, seconds: float) -> None:
        if seconds > _BLOCKED_S:
            _log.warning(
                "the event loop runs again; it was blocked for %.1f s",
                seconds,
                extra=facts(LogEvent.LOOP_TURNS, seconds=seconds),
            )
