"""Server-sent events (WHATWG HTML, 9.2)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from inkstream._runs import Runs, generation_of
from inkstream._types import JSON, End, Segment
from inkstream.wire._joined import joined
from inkstream.wire._messages import dump_json
from inkstream.wire._offsets import Offset, offset_text
from inkstream.wire._segments import is_all_text

PING: Final = b": ping\n\n"
"""A comment, which clients ignore."""


def event_frames(start: bytes, runs: Runs, segment: Segment) -> bytes:
    """Return a segment as events: one event for each message that ``joined`` yields.

    The ``id`` of an event is the offset after its message. A ``data:`` line cannot carry CR or LF,
    so text is sent as a JSON string, which escapes both. A JSON message with line breaks between
    its tokens becomes several ``data:`` lines. A client joins these lines with LF, which does not
    change the JSON value.

    Args:
        start: The ``offset_start`` of the stream.
        runs: The runs of the stream.
        segment: The segment.
    """
    if is_all_text(segment):  # most segments
        end = segment.end
        offset = offset_text(start, end, generation_of(runs, end))
        return _text_event(offset, segment.payload)
    frames: list[bytes] = []
    for end, message in joined((segment,)):
        offset = offset_text(start, end, generation_of(runs, end))
        if isinstance(message, str):
            frames.append(_text_event(offset, message.encode()))
        else:
            frames.append(_event(offset, message.raw))
    return b"".join(frames)


_SEPARATORS: Final = tuple(
    (char.encode(), f"\\u{ord(char):04x}".encode()) for char in "\x85\u2028\u2029"
)


def one_line(data: bytes) -> bytes:
    """Return JSON in which U+0085, U+2028 and U+2029 are escaped.

    Clients that use ``str.splitlines`` would treat these characters as line ends. JSON has these
    characters only inside strings, so the escapes do not change the value.
    """
    if b"\xe2\x80" not in data and b"\xc2\x85" not in data:
        return data
    for character, escaped in _SEPARATORS:
        data = data.replace(character, escaped)
    return data


# Control characters other than TAB, LF and CR. Texts seldom have them.
_RARE: Final = bytes(set(range(0x20)) - set(b"\t\n\r"))
_ESCAPED: Final = _RARE + b'\\"\t\n\r'
_LONG: Final = 1024
"""From this size on (bytes), one search for each byte of ``_RARE`` is faster than ``translate``."""
_encode_json: Final = json.JSONEncoder(ensure_ascii=False).encode


def escape_text(text: bytes) -> bytes:
    """Return UTF-8 text with the escapes that it needs inside a JSON string."""
    if len(text) < _LONG and len(text.translate(None, _ESCAPED)) == len(text):
        return text if text.isascii() else one_line(text)  # most tokens
    if len(text) < _LONG:
        is_plain = len(text.translate(None, _RARE)) == len(text)
    else:
        is_plain = not any(byte in text for byte in _RARE)
    if not is_plain:
        return one_line(_encode_json(text.decode())[1:-1].encode())
    escaped = (
        text.replace(b"\\", b"\\\\")
        .replace(b'"', b'\\"')
        .replace(b"\n", b"\\n")
        .replace(b"\r", b"\\r")
        .replace(b"\t", b"\\t")
    )
    return escaped if escaped.isascii() else one_line(escaped)


def _text_event(offset: bytes, text: bytes) -> bytes:
    return b'id: %b\ndata: "%b"\n\n' % (offset, escape_text(text))


def _event(offset: bytes, data: bytes) -> bytes:
    data = one_line(data)
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"))
    return b"id: %b\ndata: %b\n\n" % (offset, data)


def end_frame(offset: Offset, end: End) -> bytes:
    """Return the terminal event. Its ``id`` is ``offset``, the offset after the end."""
    return b"event: end\nid: %b\ndata: %b\n\n" % (
        str(offset).encode(),
        one_line(dump_json(end_object(end))),
    )


def end_object(end: End) -> Mapping[str, JSON]:
    """Return an end as the JSON object that the terminal event and Durable Streams contain."""
    return {
        "status": end.status.value,
        "code": end.code,
        "message": end.message,
        "result": end.result,
    }
