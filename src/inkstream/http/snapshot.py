"""A stream as one JSON document, written a piece at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable

from inkstream import wire
from inkstream._types import Segment, StreamState
from inkstream.wire import Offset


class Snapshot:
    """Encode a stream as JSON (docs/http.md) a piece at a time: ``begin``, ``parts``…, ``end``.

    Args:
        state: The stream's, when its tail was at ``here``.
        here: Where to go on from.
    """

    def __init__(self, state: StreamState, here: Offset) -> None:
        self._state = state
        self._here = here
        self._is_empty = True
        self._in_text = False

    def begin(self) -> bytes:
        """Return what stands before the parts."""
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
        """Return the next messages; text goes on where the last piece left it."""
        out: list[bytes] = []
        for segment in segments:
            if wire.is_all_text(segment):
                self._put_text(out, segment.payload)
                continue
            for message in wire.decode_messages([segment]):
                if isinstance(message, str):
                    self._put_text(out, message.encode())
                else:
                    out.append(b'"' * self._in_text + b"," * (not self._is_empty) + message.raw)
                    self._in_text = self._is_empty = False
        return b"".join(out)

    def _put_text(self, out: list[bytes], text: bytes) -> None:
        if not self._in_text:
            out.append(b'"' if self._is_empty else b',"')
            self._in_text, self._is_empty = True, False
        out.append(wire.escape_text(text))

    def end(self) -> bytes:
        """Return what stands after the parts."""
        return b'"]}' if self._in_text else b"]}"
