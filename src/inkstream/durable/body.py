"""Request bodies as segments: bytes as they are, JSON as the raw slices of its messages.

JSON is checked strictly and then kept byte for byte: to parse it and write it again would change
numbers (``1.0``, large integers) and drop duplicate keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from inkstream import wire
from inkstream._errors import InvalidMessage, MessageTooLarge
from inkstream._types import Segment

_SPACE: Final = re.compile(r"[ \t\n\r]*")


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidMessage(f"{name} is not JSON")


# Numbers are only checked: turning a long one into an int would cost quadratic time.
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=str, parse_float=str)


def split_json(body: bytes) -> list[bytes]:
    """Return the messages of a JSON body: the elements of an array, else the one value.

    Raises:
        InvalidMessage: It is not JSON (RFC 8259, UTF-8), nested too deep, or holds the key that
            only the server may write.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as exc:
        raise InvalidMessage("JSON must be UTF-8") from exc
    start = _skip(text, 0)
    if text.startswith("[", start):
        found = list(_elements(text, start + 1))
    else:
        end = _value(text, start)
        if _skip(text, end) != len(text):
            raise InvalidMessage("there is more than one JSON value; send an array of them")
        found = [text[start:end]]
    return [value.encode() for value in found]


def _elements(text: str, at: int) -> Iterator[str]:
    at = _skip(text, at)
    if not text.startswith("]", at):
        while True:
            end = _value(text, at)
            yield text[at:end]
            at = _skip(text, end)
            if text.startswith("]", at):
                break
            if not text.startswith(",", at):
                raise InvalidMessage("the JSON array is broken off or malformed")
            at = _skip(text, at + 1)
    if _skip(text, at + 1) != len(text):
        raise InvalidMessage("something follows the JSON array")


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


def _value(text: str, at: int) -> int:
    """Return where the JSON value that begins here ends."""
    try:
        value, end = _DECODER.raw_decode(text, at)
    except RecursionError as exc:
        raise InvalidMessage(f"JSON may be nested {wire.MAX_JSON_DEPTH} deep") from exc
    except ValueError as exc:
        if isinstance(exc, InvalidMessage):
            raise
        raise InvalidMessage("the body is not valid JSON") from exc
    if isinstance(value, dict) and wire.END_KEY in value:
        raise InvalidMessage(f"the key {wire.END_KEY!r} is reserved for the server")
    wire.check_depth(text, at, end)
    return end


class Body:
    """A request's body, cut into messages at most once."""

    __slots__ = ("_segment", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._segment: Segment | None = None

    def __bool__(self) -> bool:
        return bool(self.raw)

    def segment(self, *, is_json: bool, message_bytes: int) -> Segment | None:
        """Return the body as a segment at position 0; ``None`` if it holds no message.

        A whole body is one segment, whatever its size, because it commits as one.

        Raises:
            InvalidMessage, MessageTooLarge
        """
        if self._segment is None and self.raw:
            if is_json:
                self._segment = _json_segment(split_json(self.raw), message_bytes)
            else:
                self._segment = Segment(0, len(self.raw), self.raw, b"")
        return self._segment


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
    """Return the messages (text or raw JSON) of a JSON stream as one array."""
    return b"[" + b",".join([_dump(value) for value in values]) + b"]"


def _dump(value: str | wire.RawJSON) -> bytes:
    return wire.one_line(value.raw if isinstance(value, wire.RawJSON) else wire.dump_json(value))
