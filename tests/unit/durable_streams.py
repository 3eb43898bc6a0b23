"""Stream states for the tests of the Durable Streams protocol's rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from inkstream._types import (
    JSON_CONTENT,
    Kind,
    Status,
    StreamId,
    StreamState,
)
from inkstream.engine.settings import Limits

NOW = 1_800_000_000.0
LIMITS = Limits(message_bytes=100, stream_bytes=1000)


def log(**fields: Any) -> StreamState:
    return replace(
        StreamState(
            internal_id=7,
            stream_id=StreamId("s"),
            kind=Kind.LOG,
            content_type="text/plain",
            status=Status.OPEN,
            epoch=0,
            worker=None,
            tail=10,
            size=10,
            owner=None,
            group=None,
            metadata={},
            created_at=NOW,
        ),
        **fields,
    )


def text(status: Status = Status.STREAMING, **fields: Any) -> StreamState:
    return log(kind=Kind.TEXT, content_type=JSON_CONTENT, status=status, **fields)


CLOSED = log(status=Status.DONE)
