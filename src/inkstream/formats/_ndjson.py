"""One JSON object per line, for programs: ``offset`` with ``text``, ``part`` or ``end``."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from inkstream import wire
from inkstream._types import End, StreamState
from inkstream.http.formats import Format
from inkstream.wire import RawJSON


class NDJSONEncoder:
    """Encode each message as a line without its beginning.

    The function ``line`` adds the beginning, which contains the offset.
    """

    def __init__(self, stream: StreamState, state: str) -> None:
        if state:
            raise ValueError("this format has no state")

    def recalls(self) -> Collection[int]:
        return ()

    def recall(self, message: str | RawJSON, position: int) -> None:
        """See ``Encoder``."""

    def feed(self, message: str | RawJSON, position: int) -> Iterator[tuple[bytes, str]]:
        if isinstance(message, str):
            yield b'"text":"%b"}' % wire.escape_text(message.encode()), ""
        else:
            yield b'"part":%b}' % message.raw, ""

    def end(self, end: End) -> Iterator[tuple[bytes, str]]:
        yield b'"end":%b}' % wire.dump_json(wire.end_object(end)), ""


def line(chunk: bytes, cursor: str) -> bytes:
    """Return a line with an offset, and the chunk that ends at that offset."""
    # A stored object may have line breaks between its tokens, but none inside its strings.
    rest = wire.one_line(chunk.replace(b"\r", b" ").replace(b"\n", b" "))
    return b'{"offset":"%b",%b\n' % (cursor.removesuffix("~").encode(), rest)


ndjson: Final = Format(
    media_type="application/x-ndjson", encoder=NDJSONEncoder, frame=line, ping=b"\n"
)
"""Lines of JSON. An empty line is a ping."""
