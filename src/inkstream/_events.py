"""The names of the logged events. docs/operations.md lists these names."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class LogEvent(StrEnum):
    """The name of an event. A log record has this name in its attribute ``event``."""

    STREAM_ENDED = "stream_ended"
    SOURCE_FAILED = "source_failed"
    WRITER_FENCED = "writer_fenced"
    WORKER_DEAD = "worker_dead"
    STORE_AWAY = "store_away"
    STORE_BACK = "store_back"
    LOOP_BLOCKED = "loop_blocked"
    LOOP_TURNS = "loop_turns"
    STREAMS_LET_GO = "streams_let_go"


def facts(event: LogEvent, **values: Any) -> dict[str, Any]:
    """Return the argument ``extra`` of a log call. ``values`` must not contain an answer's text."""
    return {"event": event.value, **values}
