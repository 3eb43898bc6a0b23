"""Segments: messages in the form in which a store keeps them.

A stored message is a piece of text (as UTF-8) or a JSON value (as its exact bytes). A segment joins
the bytes of consecutive messages. The index of a segment has one number per message,
``length << 1 | is_json``, in unsigned LEB128 (7 bits in each byte, the lowest bits first). The
segments of a byte stream (docs/durable-streams.md) have no index. All other streams are JSON
streams.

Clients of Durable Streams get the stored messages (``decode_messages``). All other readers get
``readable_messages``, in which a JSON string that a Durable Streams client wrote is text too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, cast

from inkstream._types import Segment
from inkstream.wire._messages import RawJSON, clean_text, load_json

SEGMENT_BYTES: Final = 64 * 1024
"""The maximum payload of a segment that ``encode_messages`` or ``merge`` makes, in bytes.

A single JSON message or a single segment that is larger stays whole.
"""


def encode_messages(messages: Sequence[str | RawJSON], position: int) -> list[Segment]:
    """Return segments with these messages. The first segment begins at ``position``.

    Adjacent pieces of text become one message, and empty pieces are left out. A text that is larger
    than ``SEGMENT_BYTES`` becomes several messages. A JSON message is never split.
    """
    short = _short_text(messages)
    if short is not None:  # most commits of a live answer
        return [Segment(position, 1, short, _number(len(short) << 1))] if short else []
    segments: list[Segment] = []
    payloads: list[bytes] = []
    index = bytearray()
    count = size = 0

    def close() -> None:
        nonlocal count, size, position, index
        if count:
            segments.append(Segment(position, count, b"".join(payloads), bytes(index)))
            position += count
            payloads.clear()
            index = bytearray()
            count = size = 0

    def put(payload: bytes, is_json: bool) -> None:
        nonlocal count, size
        if count and size + len(payload) > SEGMENT_BYTES:
            close()
        payloads.append(payload)
        _put_number(index, len(payload) << 1 | is_json)
        count += 1
        size += len(payload)

    texts: list[str] = []

    def put_text() -> None:
        if not texts:
            return
        payload = clean_text("".join(texts)).encode()
        texts.clear()
        start = 0
        while len(payload) - start > SEGMENT_BYTES:
            stop = start + SEGMENT_BYTES
            while payload[stop] & 0xC0 == 0x80:  # do not split a character
                stop -= 1
            put(payload[start:stop], False)
            start = stop
        if start < len(payload):
            put(payload[start:], False)

    for message in messages:
        if isinstance(message, str):
            texts.append(message)
        else:
            put_text()
            put(message.raw, True)
    put_text()
    close()
    return segments


def encode_whole(messages: Sequence[str | RawJSON]) -> Segment | None:
    """Return one segment of any size with these messages; ``None`` if it would be empty."""
    segments = encode_messages(messages, 0)
    return _concatenate(segments) if segments else None


def _short_text(messages: Sequence[str | RawJSON]) -> bytes | None:
    """Return the joined text as UTF-8 if all messages are text and fit into one segment."""
    try:
        payload = "".join(cast("Sequence[str]", messages)).encode()
    except (TypeError, UnicodeEncodeError):  # a JSON value, or half a surrogate pair
        return None
    return payload if len(payload) <= SEGMENT_BYTES else None


def _number(number: int) -> bytes:
    if number <= 0x7F:
        return bytes((number,))
    out = bytearray()
    _put_number(out, number)
    return bytes(out)


def _put_number(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def json_index(lengths: Iterable[int]) -> bytes:
    """Return the index of JSON messages with these lengths in bytes."""
    index = bytearray()
    for length in lengths:
        _put_number(index, length << 1 | 1)
    return bytes(index)


def index_entries(index: bytes) -> Iterator[tuple[int, bool]]:
    """Yield, for each message of an index, its length in bytes, and whether the message is JSON."""
    number = shift = 0
    for byte in index:
        number |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
        else:
            yield number >> 1, bool(number & 1)
            number = shift = 0


# Matches an index in which the lowest bit of every number is 0, so that every message is text.
# A match takes a tenth of the time that it takes to decode the numbers.
_TEXT_INDEX: Final = re.compile(
    b"(?:[%b]|[%b][\x80-\xff]*+[\x00-\x7f])++"
    % tuple(b"".join(b"\\x%02x" % n for n in range(i, i + 0x80, 2)) for i in (0, 0x80)),
    re.DOTALL,
)


def is_all_text(segment: Segment) -> bool:
    """Return whether all messages in a segment of a JSON stream are text."""
    return _TEXT_INDEX.fullmatch(segment.index) is not None


def text_of(segments: Iterable[Segment]) -> bytes:
    """Return all text in the segments of a JSON stream, joined, as UTF-8."""
    return b"".join(
        [
            segment.payload
            if is_all_text(segment)
            else "".join(m for m in readable_messages([segment]) if isinstance(m, str)).encode()
            for segment in segments
        ]
    )


def decode_messages(segments: Iterable[Segment]) -> Iterator[str | RawJSON]:
    """Yield the stored messages of a JSON stream's segments."""
    for segment in segments:
        start = 0
        for length, is_json in index_entries(segment.index):
            raw = segment.payload[start : start + length]
            start += length
            yield RawJSON(raw) if is_json else raw.decode()


# Matches an escape in a JSON string. Group 1 matches only the escape of half a surrogate pair.
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


def _clean_json(raw: bytes) -> bytes:
    """Return JSON in which the escape of U+FFFD replaces each escape of half a surrogate pair."""
    if b"\\ud" not in raw and b"\\uD" not in raw:
        return raw
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], raw)


def readable_messages(segments: Iterable[Segment]) -> Iterator[str | RawJSON]:
    """Yield a JSON stream's messages for all readers except clients of Durable Streams.

    A JSON string that a client of Durable Streams wrote becomes a piece of text. Otherwise the
    text of the stream would lack this string. Half a surrogate pair becomes U+FFFD, because UTF-8
    cannot encode the half.
    """
    for message in decode_messages(segments):
        if isinstance(message, str):
            yield message
            continue
        raw = _clean_json(message.raw)
        yield load_json(raw) if raw.startswith(b'"') else RawJSON(raw)


def cut(segment: Segment, after: int, until: int | None = None) -> Segment | None:
    """Return a segment's messages from the position ``after`` on, and before ``until`` if given.

    Return ``None`` if there are no such messages.
    """
    stop = segment.end if until is None else min(until, segment.end)
    if stop <= after or stop <= segment.position:
        return None
    if after <= segment.position and stop == segment.end:
        return segment
    start = max(after, segment.position)
    if not segment.index:
        payload = segment.payload[start - segment.position : stop - segment.position]
        return Segment(start, len(payload), payload, b"")
    index = bytearray()
    begin = end = 0
    for position, (length, is_json) in enumerate(index_entries(segment.index), segment.position):
        if position >= stop:
            break
        if position < start:
            begin += length
        else:
            _put_number(index, length << 1 | is_json)
        end += length
    return Segment(start, stop - start, segment.payload[begin:end], bytes(index))


def merge(segments: Sequence[Segment]) -> list[Segment]:
    """Return the same messages, at the same positions, in fewer segments if possible.

    A returned segment is larger than ``SEGMENT_BYTES`` only if a given segment is so large.
    """
    merged: list[Segment] = []
    run: list[Segment] = []
    size = 0
    for segment in segments:
        if run and size + len(segment.payload) > SEGMENT_BYTES:
            merged.append(_concatenate(run))
            run, size = [], 0
        run.append(segment)
        size += len(segment.payload)
    if run:
        merged.append(_concatenate(run))
    return merged


def _concatenate(run: Sequence[Segment]) -> Segment:
    if len(run) == 1:
        return run[0]
    return Segment(
        run[0].position,
        run[-1].end - run[0].position,
        b"".join([segment.payload for segment in run]),
        b"".join([segment.index for segment in run]),
    )
