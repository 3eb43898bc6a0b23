"""Encodes and decodes offsets, messages and events. The functions here do no I/O.

A stored message is a piece of text (as UTF-8) or a JSON value (as its exact bytes). A segment joins
the bytes of consecutive messages. The index of a segment has one number per message,
``length << 1 | is_json``, in LEB128. The segments of a byte stream have no index.

Clients of Durable Streams get the stored messages (``decode_messages``). All other readers get
``readable_messages``, in which a string of a Durable Streams client is a piece of text too.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NoReturn, Protocol, cast

from inkstream._arguments import described
from inkstream._errors import InvalidMessage, InvalidOffset
from inkstream._runs import Runs, generation_of
from inkstream._types import JSON, End, Segment, StreamState
from inkstream.parts import Delta, delta_of, join_delta

SEGMENT_BYTES: Final = 64 * 1024
"""The maximum payload of a segment that ``encode_messages`` or ``merge`` makes, in bytes.

A single JSON message or a single segment that is larger stays whole.
"""

MAX_JSON_DEPTH: Final = 128

END_KEY: Final = "inkstream:end"
"""A reserved key. In Durable Streams, an object with this key says how a text stream ended."""


# Offsets -------------------------------------------------------------------------------------

_OFFSET = re.compile(r"([0-9A-V]{10})_([0-9A-V]{9})_([A-Za-z0-9_-]{4})(\.end)?", re.ASCII)
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
_PAIRS: Final = [(high + low).encode() for high in _DIGITS for low in _DIGITS]


class HasRuns(Protocol):
    """The fields of a stream's state or tail that an offset of the stream needs."""

    @property
    def internal_id(self) -> int:
        """The stream's internal id."""

    @property
    def runs(self) -> Runs:
        """The generations of the stream's messages."""


@dataclass(frozen=True, slots=True)
class Offset:
    """A place in a stream. Clients store an offset, but do not interpret it (docs/decisions/0014).

    On the wire, an offset is ``{internal id}_{position}_{tag}``. The internal id and the position
    are numbers in base32hex with a fixed width. So a stream's offsets, sorted as text, are in the
    order of their positions. The tag is the generation of the message before the offset, in
    base64url. The offset after the terminal event (``ended``) ends with ``.end``. The offset ``-1``
    is the start of the stream that has the id now.
    """

    internal_id: int
    position: int
    ended: bool = False
    generation: int = 0

    @classmethod
    def at(cls, stream: HasRuns, position: int, *, ended: bool = False) -> Offset:
        """Return the offset of ``position``; with ``ended``, the offset after the stream's end."""
        generation = generation_of(stream.runs, position + ended)
        return cls(stream.internal_id, position, ended, generation)

    def __str__(self) -> str:
        if self.is_start:
            return "-1"
        text = _offset(offset_start(self.internal_id), self.position, self.generation)
        return text.decode() + (".end" if self.ended else "")

    @classmethod
    def parse(cls, text: str) -> Offset:
        """Return the offset that is written as ``text``, or raise ``InvalidOffset``."""
        if text == "-1":
            return START
        match = _OFFSET.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise InvalidOffset(text)
        internal_id, position = int(match[1], 32), int(match[2], 32)
        if internal_id == 0:
            raise InvalidOffset(text)
        generation = int.from_bytes(urlsafe_b64decode(match[3]), "big")
        return cls(internal_id, position, match[4] is not None, generation)

    @property
    def is_start(self) -> bool:
        """True for the offset ``-1``."""
        return self.internal_id == 0

    def lies_in(self, state: StreamState) -> bool:
        """Return whether the stream ``state`` still has the same messages before this offset."""
        if self.is_start:
            return True
        return (
            self.internal_id == state.internal_id
            and self.position <= state.tail
            and (not self.ended or (state.ended and self.position == state.tail))
            and self.generation == generation_of(state.runs, self.position + self.ended)
        )


def offset_start(internal_id: int) -> bytes:
    """Return the text with which all offsets of a stream begin."""
    return b"%b_" % _base32hex(internal_id, 10)


def _offset(start: bytes, position: int, generation: int) -> bytes:
    # The last four digits of the position come from a table, because every token has an offset.
    return b"%b%b%b%b_%b" % (
        start,
        _high_digits(position >> 20),
        _PAIRS[position >> 10 & 1023],
        _PAIRS[position & 1023],
        _tag(generation),
    )


@lru_cache(maxsize=1024)
def _high_digits(number: int) -> bytes:
    return _base32hex(number, 5)


def _base32hex(number: int, width: int) -> bytes:
    digits = ""
    for _ in range(width):
        digits = _DIGITS[number & 31] + digits
        number >>= 5
    return digits.encode()


@lru_cache(maxsize=1024)
def _tag(generation: int) -> bytes:
    return urlsafe_b64encode(generation.to_bytes(3, "big"))


START: Final = Offset(0, 0)


# Messages ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RawJSON:
    """A JSON value as its exact bytes, so that ``1.0`` stays ``1.0``."""

    raw: bytes


def clean_text(text: str) -> str:
    """Return text that UTF-8 can encode.

    A surrogate pair becomes one character. Half a pair becomes U+FFFD.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def size_of(message: str | RawJSON) -> int:
    """Return the size of a stored message in bytes."""
    return len(clean_text(message).encode()) if isinstance(message, str) else len(message.raw)


def dump_json(value: JSON, *, any_depth: bool = False) -> bytes:
    """Return a JSON value as JSON text in UTF-8, without spaces between tokens.

    Use ``any_depth`` for a stored value inside a new object. Otherwise a value that was stored with
    the greatest depth could never be sent.

    Raises:
        InvalidMessage: The value is not JSON (an unknown type, NaN or infinity), or is nested too
            deep.
    """
    try:
        text = json.dumps(
            value, default=_refuse, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidMessage(f"not a JSON value: {exc}") from exc
    if not isinstance(value, str) and not any_depth:
        check_depth(text, 0, len(text))
    return clean_text(text).encode()


_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def check_depth(text: str, start: int, end: int) -> None:
    """Raise ``InvalidMessage`` if ``text[start:end]`` is nested deeper than ``MAX_JSON_DEPTH``."""
    if text.count("[", start, end) + text.count("{", start, end) <= MAX_JSON_DEPTH:
        return
    depth = 0
    for token in _JSON_TOKEN.finditer(text, start, end):
        first = token[0][0]
        if first in "[{":
            depth += 1
            if depth > MAX_JSON_DEPTH:
                raise InvalidMessage(f"JSON may be nested {MAX_JSON_DEPTH} deep")
        elif first in "]}":
            depth -= 1


def _refuse(value: object) -> NoReturn:
    raise TypeError(f"it holds {described(value)}")


def dump_object(value: Mapping[str, JSON]) -> RawJSON:
    """Return a JSON object in its stored form.

    Raises:
        InvalidMessage: The value is not a JSON object, is nested too deep, or has ``END_KEY``.
    """
    if not isinstance(value, Mapping):
        raise InvalidMessage(
            f"a message is text (str) or a JSON object (dict), not {described(value)}"
        )
    if END_KEY in value:
        raise InvalidMessage(f"the key {END_KEY!r} is reserved: it says how a stream ended")
    return RawJSON(dump_json(dict(value)))


def encode_messages(messages: Sequence[str | RawJSON], position: int) -> list[Segment]:
    """Return segments with these messages. The first segment begins at ``position``.

    Adjacent pieces of text become one message, and empty pieces are left out. A text that is larger
    than ``SEGMENT_BYTES`` becomes several messages. A JSON message is never split.
    """
    short = _short_text(messages)
    if short is not None:  # nearly every commit of a live answer
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
            while payload[stop] & 0xC0 == 0x80:  # never split a character
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
# This takes a tenth of the time that it takes to decode the numbers.
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


_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


def _clean_json(raw: bytes) -> bytes:
    """Return JSON in which the escape of half a surrogate pair is the escape of U+FFFD."""
    if b"\\ud" not in raw and b"\\uD" not in raw:
        return raw
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], raw)


def readable_messages(segments: Iterable[Segment]) -> Iterator[str | RawJSON]:
    """Yield the messages of a JSON stream's segments as every reader but Durable Streams gets them.

    A JSON string is a piece of text, even if a client of Durable Streams has written it. Otherwise
    one reader would get a text that another reader does not get. Half a surrogate pair is U+FFFD,
    because Python cannot encode the half.
    """
    for message in decode_messages(segments):
        if isinstance(message, str):
            yield message
            continue
        raw = _clean_json(message.raw)
        yield load_json(raw) if raw.startswith(b'"') else RawJSON(raw)


def joined(segments: Iterable[Segment]) -> Iterator[tuple[int, str | RawJSON]]:
    """Yield the messages of a JSON stream's segments, each with the position after the message.

    Adjacent pieces of text are joined. Adjacent deltas of one reasoning, or of one tool call's
    input, are joined too. Otherwise a provider's thousand deltas would become a thousand parts.
    """
    run: _Run | None = None
    for segment in segments:
        position = segment.position
        if is_all_text(segment):
            messages: Iterable[str | RawJSON] = (segment.payload.decode(),)
            step = segment.count
        else:
            messages, step = readable_messages((segment,)), 1
        for message in messages:
            delta = None if isinstance(message, str) else delta_of(message.raw)
            text = message if delta is None else delta.text
            if run is not None and not (isinstance(text, str) and run.takes(delta)):
                yield run.end, run.message()
                run = None
            position += step
            if not isinstance(text, str):
                yield position, text
            elif run is None:
                run = _Run(message, delta, position, text)
            else:
                run.texts.append(text)
                run.end = position
    if run is not None:
        yield run.end, run.message()


class _Run:
    """Adjacent messages that ``joined`` combines into one message."""

    __slots__ = ("_delta", "_first", "end", "texts")

    def __init__(self, first: str | RawJSON, delta: Delta | None, end: int, text: str) -> None:
        self._first = first
        self._delta = delta
        self.end = end
        self.texts = [text]

    def takes(self, delta: Delta | None) -> bool:
        mine = self._delta
        if delta is None or mine is None:
            return delta is mine
        return delta[:2] == mine[:2]

    def message(self) -> str | RawJSON:
        if len(self.texts) == 1:
            return self._first
        if self._delta is None:
            return "".join(self.texts)
        return RawJSON(dump_json(join_delta(self._delta, self.texts)))


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
    """Return the same messages, at the same positions, in fewer segments.

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


# Server-sent events (WHATWG HTML, 9.2) ---------------------------------------------------------

PING: Final = b": ping\n\n"


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
    if is_all_text(segment):  # nearly every segment
        end = segment.end
        offset = _offset(start, end, generation_of(runs, end))
        return _text_event(offset, segment.payload)
    frames: list[bytes] = []
    for end, message in joined((segment,)):
        offset = _offset(start, end, generation_of(runs, end))
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


_RARE: Final = bytes(set(range(0x20)) - set(b"\t\n\r"))
_ESCAPED: Final = _RARE + b'\\"\t\n\r'
_LONG: Final = 1024
_encode_json: Final = json.JSONEncoder(ensure_ascii=False).encode


def escape_text(text: bytes) -> bytes:
    """Return UTF-8 text with the escapes that it needs inside a JSON string."""
    if len(text) < _LONG and len(text.translate(None, _ESCAPED)) == len(text):
        return text if text.isascii() else one_line(text)  # nearly every token
    # Many searches for one byte each take less time than one loop over a long text.
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


def load_json(raw: bytes) -> Any:
    """Return the Python value of a stored JSON message."""
    return json.loads(raw)
