"""Pure functions that turn pages into responses: bodies, events, cursors, ETags."""

from __future__ import annotations

import base64
import codecs
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from inkstream import wire
from inkstream._types import JSON, JSON_CONTENT, End, Kind, Segment, StreamState
from inkstream.durable.body import MOST_MESSAGES, json_array
from inkstream.durable.protocol import end_headers
from inkstream.durable.requests import media_type
from inkstream.wire import Offset

CURSOR_EPOCH: Final = 1_728_432_000.0
"""9 October 2024, 00:00 UTC: the protocol numbers intervals from this time (section 10.1)."""
CURSOR_INTERVAL_S: Final = 20

# The AI SDK fails on an object without a type. It passes an object of the following type to the
# application (`onData`), and adds the object to no message.
_FOR_AI_SDK: Final[dict[str, JSON]] = {"type": "data-inkstream-end", "transient": True}


def next_cursor(now: float, given: int | None) -> str:
    """Return the protocol's cursor for a live read.

    Usually the cursor is the number of the current interval. If the client's last cursor ``given``
    is at least this number, the cursor is a number larger than ``given``.
    """
    current = int((now - CURSOR_EPOCH) // CURSOR_INTERVAL_S)
    if given is None or given < current:
        return str(current)
    jitter_s = random.randint(1, 3600)
    return str(given + max(1, -(-jitter_s // CURSOR_INTERVAL_S)))


@dataclass(frozen=True, slots=True)
class Chunk:
    """The messages that a read found between two positions.

    Attributes:
        start: The position at which the read began.
        segments: The messages, cut so that they begin at ``start``.
        position: The position after these messages.
        at_tail: Whether the stream now has no message after ``position``.
        end: How the stream ended, if it has ended and no message follows.
        end_seen: Whether the client sent the offset after the stream's end.
    """

    state: StreamState
    start: int
    segments: tuple[Segment, ...]
    position: int
    at_tail: bool
    end: End | None
    end_seen: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send, not even how a text stream ended."""
        return not self.segments and (self._last is None)

    @property
    def _last(self) -> wire.RawJSON | None:
        """The extra message after the stored messages, which says how a text stream ended."""
        if self.end is None or self.end_seen or self.state.kind is not Kind.TEXT:
            return None
        message = {**_FOR_AI_SDK, wire.END_KEY: wire.end_object(self.end)}
        return wire.RawJSON(wire.dump_json(message))

    @property
    def offset(self) -> str:
        """The offset from which a client continues."""
        ended = self.end is not None and self.state.kind is Kind.TEXT
        return str(Offset.at(self.state, self.position, ended=ended))

    def headers(self) -> dict[str, str]:
        """Return the protocol's headers, without those for the cursor, the ETag and caching."""
        headers = {
            "content-type": self.state.content_type,
            "stream-next-offset": self.offset,
            **end_headers(self.state),
        }
        if self.at_tail:
            headers["stream-up-to-date"] = "true"
        if self.end is not None:
            headers["stream-closed"] = "true"
        return headers

    def etag(self) -> str:
        """Return the ETag of these messages.

        When a stream closes, the ETag of its last messages changes (section 10.1).
        """
        start = f"{self.start}.end" if self.end_seen else str(self.start)
        closed = ":c" if self.end is not None else ""
        return f'"{self.state.internal_id}:{start}:{self.offset.partition("_")[2]}{closed}"'

    def body(self) -> bytes:
        """Return the messages as one JSON array, or as bytes."""
        if self.state.counts_bytes:
            return b"".join([segment.payload for segment in self.segments])
        messages: list[Any] = list(wire.decode_messages(self.segments))
        if self._last is not None:
            messages.append(self._last)
        return json_array(messages)


def in_turns(
    state: StreamState, start: int, position: int, segments: Iterable[Segment]
) -> Iterator[tuple[int, int, list[Segment]]]:
    """Yield portions of the messages: the positions before and after a portion, and its segments.

    A megabyte can contain half a million messages. Without a limit, one portion could block the
    event loop for seconds. A byte stream is one portion.
    """
    if state.counts_bytes or position - start <= MOST_MESSAGES:
        yield start, position, list(segments)
        return
    for begin in range(start, position, MOST_MESSAGES):
        until = min(begin + MOST_MESSAGES, position)
        pieces = (wire.cut(segment, begin, until) for segment in segments)
        yield begin, until, [piece for piece in pieces if piece is not None]


def cut_from(segments: Iterable[Segment], start: int) -> list[Segment]:
    """Return the messages of ``segments`` that come after position ``start``, as segments."""
    cuts = (wire.cut(segment, start) for segment in segments)
    return [piece for piece in cuts if piece is not None]


class Events:
    """Chunks of one stream as server-sent events.

    Text is sent as text. An event cannot contain part of a character, so an incomplete character
    waits until its other bytes arrive. Content that is neither text nor JSON is sent as base64.
    """

    def __init__(self, state: StreamState) -> None:
        kind = media_type(state.content_type)
        self.is_base64 = kind != JSON_CONTENT and not kind.startswith("text/")
        self._is_json = kind == JSON_CONTENT
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def held_back(self) -> int:
        """Return the number of bytes that wait for the rest of their character."""
        return len(self._decoder.getstate()[0])

    def data(self, chunk: Chunk) -> bytes:
        """Return the chunk as a ``data`` event; empty if there is nothing to send."""
        if self._is_json:
            return b"" if chunk.is_empty else _event("data", chunk.body().decode())
        payload = chunk.body()
        if self.is_base64:
            return _event("data", base64.b64encode(payload).decode()) if payload else b""
        text = self._decoder.decode(payload, final=chunk.end is not None)
        return _event("data", text) if text else b""

    def control(self, chunk: Chunk, cursor: str) -> bytes:
        """Return the ``control`` event for the chunk, with the offset after the sent messages."""
        held = self.held_back()
        offset = chunk.offset
        if held:
            offset = str(Offset.at(chunk.state, chunk.position - held))
        fields: dict[str, Any] = {"streamNextOffset": offset}
        if chunk.end is None:
            fields["streamCursor"] = cursor
        if chunk.at_tail and not held:
            fields["upToDate"] = True
        if chunk.end is not None:
            fields["streamClosed"] = True
        if chunk.state.kind is Kind.TEXT:
            status = chunk.state.status if chunk.end is None else chunk.end.status
            fields["inkstreamStatus"] = status.value
            if chunk.end is not None and chunk.end.code is not None:
                fields["inkstreamCode"] = chunk.end.code
        return _event("control", json.dumps(fields, separators=(",", ":")))


def _event(name: str, data: str) -> bytes:
    # Each line break that SSE knows begins a new data line. Otherwise a text could contain forged
    # events. A client removes one space after the colon, so a line that begins with a space gets
    # an extra space.
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    fields = [f"data: {line}" if line.startswith(" ") else f"data:{line}" for line in lines]
    return "\n".join([f"event: {name}", *fields, "\n"]).encode()
