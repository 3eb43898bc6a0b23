"""A stream's whole answer, joined from a reader's items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inkstream._types import JSON, End
from inkstream.client._reading import Item


@dataclass(frozen=True, slots=True)
class Answer:
    """A stream's messages after the reader's offset, and the stream's end. ``read`` returns this.

    Attributes:
        parts: Text and JSON objects in their order; adjacent text is joined.
        end: How the stream ended.
        offset: The offset after the last item.
    """

    parts: tuple[str | Mapping[str, JSON], ...]
    end: End
    offset: str

    @property
    def text(self) -> str:
        """All pieces of text, joined."""
        return "".join(part for part in self.parts if isinstance(part, str))


class Collected:
    """Collect items, and join adjacent pieces of text."""

    def __init__(self) -> None:
        self._parts: list[str | Mapping[str, JSON]] = []
        self._text: list[str] = []
        self._end: End | None = None

    def take(self, item: Item) -> None:
        if isinstance(item, str):
            self._text.append(item)
            return
        if self._text:
            self._parts.append("".join(self._text))
            self._text.clear()
        if isinstance(item, End):
            self._end = item
        else:
            self._parts.append(item)

    def answer(self, offset: str | None) -> Answer:
        """Return the collected answer, which must include the end."""
        assert self._end is not None, "a reader iterates to the end, or raises"
        return Answer(tuple(self._parts), self._end, offset or "")
