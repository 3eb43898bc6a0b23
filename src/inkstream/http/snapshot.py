"""A stream as one JSON document, encoded piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterable

from inkstream import wire
from inkstream._types import Segment, StreamState
from inkstream.parts import Delta, delta_of, join_delta
from inkstream.wire import Offset


class Snapshot:
    """Encode a stream as JSON (docs/http.md) piece by piece: ``begin``, ``parts``…, ``end``.

    ``here`` is the offset of the stream's tail at the time of ``state``.
    """

    def __init__(self, state: StreamState, here: Offset) -> None:
        self._state = state
        self._here = here
        self._is_empty = True
        self._open: tuple[str, ...] | None = None
        self._close = b""

    def begin(self) -> bytes:
        """Return the document up to the parts."""
        state = self._state
        fields = {
            "stream_id": state.stream_id,
            "kind": state.kind.value,
            "status": state.status.value,
            "offset": str(self._here),
            "code": state.code,
            "message": state.message,
            "result": state.result,
            "created_at": state.created_at,
            "started_at": state.started_at,
            "ended_at": state.ended_at,
        }
        return json.dumps(fields)[:-1].encode() + b', "parts": ['

    def parts(self, segments: Iterable[Segment]) -> bytes:
        """Return the next messages. Adjacent text, or adjacent deltas of a part, become one string.

        A later call closes the string: ``parts`` at the next message that does not belong to the
        string, or ``end``.
        """
        out: list[bytes] = []
        for segment in segments:
            if wire.is_all_text(segment):
                self._put(out, segment.payload)
                continue
            for message in wire.readable_messages([segment]):
                if isinstance(message, str):
                    self._put(out, message.encode())
                elif (delta := delta_of(message.raw)) is not None:
                    self._put(out, delta.text.encode(), delta)
                else:
                    raw = wire.one_line(message.raw)
                    out += (self._close, b"," * (not self._is_empty), raw)
                    self._open, self._close, self._is_empty = None, b"", False
        return b"".join(out)

    def _put(self, out: list[bytes], text: bytes, delta: Delta | None = None) -> None:
        """Add text to the open string, or open a new string if the text belongs to another part."""
        key = ("text",) if delta is None else delta[:2]
        if self._open != key:
            head, tail = b"", b""
            if delta is not None:
                head, tail = wire.one_line(wire.dump_json(join_delta(delta, []))).rsplit(b'""', 1)
            out += (self._close, b"," * (not self._is_empty), head, b'"')
            self._open, self._close, self._is_empty = key, b'"' + tail, False
        out.append(wire.escape_text(text))

    def end(self) -> bytes:
        """Return the document after the parts."""
        return self._close + b"]}"
