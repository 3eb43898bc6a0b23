"""Offsets: places in a stream, in the form in which clients keep them."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from inkstream._errors import InvalidOffset
from inkstream._runs import Runs, generation_of
from inkstream._types import StreamState

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
    """A place in a stream. Clients keep an offset, but do not interpret it (docs/decisions/0014).

    On the wire, an offset is ``{internal id}_{position}_{tag}``. The internal id and the position
    are numbers in the alphabet of base32hex (RFC 4648), with a fixed width. So a stream's offsets,
    sorted as text, are in the order of their positions. The tag is the generation of the message
    before the offset, in base64url. The offset after the terminal event (``ended``) ends with
    ``.end``. The offset ``-1`` is the start of any stream.
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
        text = offset_text(offset_start(self.internal_id), self.position, self.generation)
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
        """Return whether this offset is a valid place in the stream with this state."""
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


def offset_text(start: bytes, position: int, generation: int) -> bytes:
    """Return an offset as text, without ``.end``. ``start`` is the stream's ``offset_start``."""
    # This function runs for nearly every event, so a table of pairs of digits saves time.
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
