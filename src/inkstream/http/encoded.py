"""Follow a stream in the format of a ``Format`` object, from the cursor of a client's last chunk.

A cursor is ``{offset}~{state}``. A cursor may point into the middle of a message. If the cursor has
no state, or the encoder refuses the state, the server encodes all messages before the offset again
to get the state, and discards their chunks. If a state is too long for a cursor, the cursor
contains ``x`` and a number instead. The number says how many chunks of the same message follow the
cursor's chunk. For such a cursor, the server also encodes the earlier messages again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Final

from inkstream import wire
from inkstream._errors import InvalidOffset, StreamNotFound
from inkstream._types import End, Segment, StreamState
from inkstream.engine.readers import Readers
from inkstream.engine.tail import Tail
from inkstream.http.formats import MAX_STATE, Encoder, Format
from inkstream.wire import HasRuns, Offset

MAX_CURSOR: Final = 256
"""The greatest length of a cursor, in characters."""

_TOO_LONG: Final = re.compile(r"x(0|[1-9][0-9]{0,5})", re.ASCII)

_REBUILD_BYTES: Final = 64 * 1024
"""How many bytes are read and encoded in one step. Other tasks run between two steps."""


def split_cursor(text: str) -> tuple[str, str | None]:
    """Return a cursor's offset and state. Raise ``InvalidOffset`` for a cursor that is too long."""
    if len(text) > MAX_CURSOR:
        raise InvalidOffset(f"{text:.60}…")
    offset, tilde, state = text.partition("~")
    return offset, state if tilde else None


class Encoded:
    """Encode the messages of one response, and remember the cursor of the last chunk."""

    __slots__ = ("_encoder", "_format", "_left", "_place", "_position", "_state")

    def __init__(
        self, form: Format, encoder: Encoder, place: HasRuns, position: int, state: str
    ) -> None:
        self._format = form
        self._encoder = encoder
        self._place = place
        self._position = position
        self._state = state
        self._left = 0

    def skip_to_last(self, chunks: int) -> None:
        """Keep only the last ``chunks`` chunks of the next message; 0 keeps all."""
        self._left = chunks

    def chunks(self, segments: Iterable[Segment]) -> bytes:
        """Encode the next messages, and return the bytes to send."""
        out: list[bytes] = []
        for end, message in wire.joined(segments):
            self._put(out, self._encoder.feed(message, self._position), end, ended=False)
        return b"".join(out)

    def skip(self, segments: Iterable[Segment]) -> None:
        """Encode messages that the client has, and discard their chunks."""
        for end, message in wire.joined(segments):
            for _ in self._encoder.feed(message, self._position):
                pass
            self._position = end

    def end(self, end: End) -> bytes:
        """Return the response's last bytes.

        The last chunk's cursor says that the client has seen the stream's end.
        """
        out: list[bytes] = []
        self._put(out, self._encoder.end(end), self._position, ended=True)
        return b"".join(out)

    def _put(
        self, out: list[bytes], chunks: Iterable[tuple[bytes, str]], after: int, *, ended: bool
    ) -> None:
        made = list(chunks)
        if self._left:
            made, self._left = made[-self._left :], 0
        following = len(made)
        for chunk, state in made:
            following -= 1
            if not following:
                self._position = after
            self._state = state if len(state) <= MAX_STATE else f"x{following}"
            out.append(self._format.frame(chunk, self._cursor(ended=ended and not following)))
        self._position = after

    def _cursor(self, *, ended: bool) -> str:
        return f"{Offset.at(self._place, self._position, ended=ended)}~{self._state}"


async def encoded(
    form: Format, readers: Readers, tail: Tail, position: int, state: str | None
) -> Encoded:
    """Return an ``Encoded`` that continues at a cursor's ``position`` and ``state``.

    Raises:
        StreamNotFound, StoreUnavailable
    """
    stream = tail.state
    if position == 0 and not state:
        return Encoded(form, form.encoder(stream, ""), tail, 0, "")
    too_long = _TOO_LONG.fullmatch(state or "")
    if state is not None and not too_long:
        try:
            encoder = form.encoder(stream, state)
            for wanted in encoder.recalls():
                encoder.recall(await _message_at(readers, stream, wanted), wanted)
        except ValueError:
            pass
        else:
            return Encoded(form, encoder, tail, position, state)
    rebuilt = await _rebuilt(form, readers, tail, position)
    if too_long:
        rebuilt.skip_to_last(int(too_long[1]))
    return rebuilt


async def _rebuilt(form: Format, readers: Readers, tail: Tail, position: int) -> Encoded:
    """Return an ``Encoded`` whose encoder has seen the messages before ``position``."""
    stream = tail.state
    rebuilt = Encoded(form, form.encoder(stream, ""), tail, 0, "")
    at = 0
    while at < position:
        page = await readers.page(stream.stream_id, at, _REBUILD_BYTES)
        if page.state.internal_id != stream.internal_id or page.end == at:
            raise StreamNotFound(stream.stream_id)
        pieces = [wire.cut(segment, at, position) for segment in page.segments]
        rebuilt.skip([piece for piece in pieces if piece is not None])
        at = page.end
        await asyncio.sleep(0)
    return rebuilt


async def _message_at(readers: Readers, stream: StreamState, position: int) -> str | wire.RawJSON:
    if not 0 <= position < stream.tail:
        raise ValueError("the stream has no message at this position")
    page = await readers.page(stream.stream_id, position, 1)
    found = wire.cut(page.segments[0], position, position + 1) if page.segments else None
    if found is not None and page.state.internal_id == stream.internal_id:
        return next(wire.readable_messages([found]))
    raise ValueError("the stream has no message at this position")
