"""Turn request bodies into segments. JSON is split into messages, each with its original text.

Each JSON message is checked strictly and stored byte for byte. If Python parsed a message and wrote
the result, numbers such as ``1e2`` would change, and duplicate keys would be lost.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import sys
import time
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from inkstream import wire
from inkstream._errors import InvalidInput, InvalidMessage, MessageTooLarge
from inkstream._types import Segment

_SPACE: Final = re.compile(r"[ \t\n\r]*")


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidMessage(f"{name} is not JSON")


def _check_float(number: str) -> None:
    if math.isinf(float(number)):
        raise InvalidMessage(f"the number {number:.40} is too large for a float (IEEE 754)")


# A number that Python cannot read or write again would break the stream's readers for ever. Python
# itself refuses a whole number with too many digits.
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_check_float)


MOST_MESSAGES: Final = 10_000
"""How many JSON messages one body may contain, because each message costs CPU time."""

_TURN_S: Final = 0.02
"""A body is split in steps of about this many seconds. Other tasks run between two steps."""

_SLACK: Final = 64 * 1024


def split_json(body: bytes, message_bytes: int) -> Iterator[bytes]:
    """Yield the messages of a JSON body: each element of an array, or the body's only value.

    Raises:
        InvalidMessage: The body is not JSON (RFC 8259, UTF-8), is nested too deep, or contains a
            number that is too large. Or a message has the key ``wire.END_KEY``, which only the
            server may write.
        MessageTooLarge: There are more than ``MOST_MESSAGES`` messages, or a message is far larger
            than ``message_bytes``. ``Body.segment`` checks the exact size.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as exc:
        raise InvalidMessage("JSON must be UTF-8") from exc
    values = _Values(text, message_bytes)
    start = _skip(text, 0)
    if not text.startswith("[", start):
        end = values.end_of(start)
        if _skip(text, end) != len(text):
            raise InvalidMessage("there is more than one JSON value; send an array of them")
        yield text[start:end].encode()
        return
    for count, element in enumerate(_elements(text, start + 1, values), 1):
        if count > MOST_MESSAGES:
            raise MessageTooLarge(
                f"a request's body may hold {MOST_MESSAGES} messages: send several smaller bodies",
                limit=MOST_MESSAGES,
                actual=count,
            )
        yield element.encode()


def _elements(text: str, at: int, values: _Values) -> Iterator[str]:
    at = _skip(text, at)
    if not text.startswith("]", at):
        while True:
            end = values.end_of(at)
            yield text[at:end]
            at = _skip(text, end)
            if text.startswith("]", at):
                break
            if not text.startswith(",", at):
                raise InvalidMessage("the JSON array is incomplete or malformed")
            at = _skip(text, at + 1)
    if _skip(text, at + 1) != len(text):
        raise InvalidMessage("there is more text after the JSON array")


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


class _Values:
    """The JSON values in a text. Each value is decoded in a window of the text.

    The window is a little longer than ``message_bytes``. Without a window, a value that is too
    large would block the event loop until the decoder had decoded the whole value.
    """

    def __init__(self, text: str, message_bytes: int) -> None:
        self._text = text
        self._message_bytes = message_bytes
        self._cut(0)

    def _cut(self, at: int) -> None:
        self._base = at
        self._window = self._text[at : at + self._message_bytes + _SLACK]

    def end_of(self, at: int) -> int:
        """Return the index after the JSON value that begins at ``at``."""
        if at - self._base >= _SLACK:
            self._cut(at)
        is_cut = self._base + len(self._window) < len(self._text)
        try:
            value, end = _DECODER.raw_decode(self._window, at - self._base)
        except RecursionError as exc:
            raise InvalidMessage(f"JSON may be nested {wire.MAX_JSON_DEPTH} deep") from exc
        except ValueError as exc:
            if isinstance(exc, InvalidMessage):
                raise
            if not isinstance(exc, json.JSONDecodeError):
                most = sys.get_int_max_str_digits()
                raise InvalidMessage(f"a whole number has more than {most} digits") from exc
            if is_cut:
                raise self._too_large(at) from exc
            raise InvalidMessage("the body is not valid JSON") from exc
        if is_cut and end == len(self._window):  # a number may continue after the window
            raise self._too_large(at)
        if isinstance(value, dict) and wire.END_KEY in value:
            raise InvalidMessage(f"the key {wire.END_KEY!r} is reserved for the server")
        wire.check_depth(self._window, at - self._base, end)
        return self._base + end

    def _too_large(self, at: int) -> MessageTooLarge:
        limit = self._message_bytes
        return MessageTooLarge(
            f"the message at character {at} is larger than the limit of {limit}, or is not JSON",
            limit=limit,
            actual=len(self._text[at:].encode()),
        )


class Body:
    """A request's body, which is split into messages at most once."""

    __slots__ = ("_is_cut", "_refused", "_segment", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._is_cut = not raw
        self._segment: Segment | None = None
        self._refused: InvalidInput | None = None

    def __bool__(self) -> bool:
        return bool(self.raw)

    async def cut(self, *, is_json: bool, message_bytes: int) -> None:
        """Split the body in steps. Later, ``segment`` returns the result or raises the error."""
        until = time.perf_counter() + _TURN_S
        for _ in self._cutting(is_json=is_json, message_bytes=message_bytes):
            if time.perf_counter() > until:
                await asyncio.sleep(0)
                until = time.perf_counter() + _TURN_S

    def segment(self, *, is_json: bool, message_bytes: int) -> Segment | None:
        """Return the body as a segment at position 0, or ``None`` if it contains no message.

        A body of any size is one segment, because the store commits the body as a whole.

        Raises:
            InvalidMessage, MessageTooLarge
        """
        for _ in self._cutting(is_json=is_json, message_bytes=message_bytes):
            pass
        if self._refused is not None:
            raise self._refused
        return self._segment

    def _cutting(self, *, is_json: bool, message_bytes: int) -> Iterator[None]:
        if self._is_cut:
            return
        if is_json:
            messages: list[bytes] = []
            try:
                for message in split_json(self.raw, message_bytes):
                    messages.append(message)
                    yield
                self._segment = _json_segment(messages, message_bytes)
            except InvalidInput as exc:
                self._refused = exc
        else:
            self._segment = Segment(0, len(self.raw), self.raw, b"")
        self._is_cut = True


def _json_segment(messages: list[bytes], message_bytes: int) -> Segment | None:
    if not messages:
        return None
    longest = max(map(len, messages))
    if longest > message_bytes:
        raise MessageTooLarge(
            f"a message of {longest} bytes is larger than the limit of {message_bytes}",
            limit=message_bytes,
            actual=longest,
        )
    return Segment(0, len(messages), b"".join(messages), wire.json_index(map(len, messages)))


def json_array(values: list[Any]) -> bytes:
    """Return the messages of a JSON stream (text or raw JSON) as one array."""
    return b"[" + b",".join([_dump(value) for value in values]) + b"]"


def _dump(value: str | wire.RawJSON) -> bytes:
    return wire.one_line(value.raw if isinstance(value, wire.RawJSON) else wire.dump_json(value))
