"""Parses an event stream chunk by chunk, as a browser does (WHATWG HTML, 9.2.6)."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass, field
from typing import Any

_LINE_END = re.compile("\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Event:
    event: str
    data: str
    id: str

    @property
    def value(self) -> Any:
        return json.loads(self.data)


@dataclass(slots=True)
class Parser:
    """Turns bytes into events. Keeps the last ``retry`` time (in ms) and all SSE comments."""

    retry: int | None = None
    comments: list[str] = field(default_factory=list)
    last_id: str = ""
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")(errors="strict")
    )
    _rest: str = ""
    _event: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, data: bytes) -> list[Event]:
        text = self._rest + self._decoder.decode(data)
        events: list[Event] = []
        start = 0
        for match in _LINE_END.finditer(text):
            if match[0] == "\r" and match.end() == len(text):
                break  # the next bytes may begin with the LF of a CRLF
            event = self._line(text[start : match.start()])
            start = match.end()
            if event is not None:
                events.append(event)
        self._rest = text[start:]
        return events

    def _line(self, line: str) -> Event | None:
        if not line:
            event, data = self._event or "message", self._data
            self._event, self._data = "", []
            return Event(event, "\n".join(data), self.last_id) if data else None
        name, colon, value = line.partition(":")
        value = value.removeprefix(" ")
        if colon and not name:
            self.comments.append(value)
        elif name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            if "\0" not in value:
                self.last_id = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            self.retry = int(value)
        return None


@dataclass(slots=True)
class Heard:
    """The content that a reader has received so far, over any number of connections.

    Attributes:
        ids: The id of every event.
        lengths: For each event, how long the whole text was when the event had arrived.
    """

    text: str = ""
    objects: list[Any] = field(default_factory=list)
    end: dict[str, Any] | None = None
    last_id: str = ""
    ids: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    def take(self, event: Event) -> None:
        assert self.end is None, f"an event after the end: {event}"
        assert place_of(event.id) > place_of(self.last_id), f"{event.id} came after {self.last_id}"
        self.last_id = event.id
        self.ids.append(event.id)
        if event.event == "end":
            self.end = event.value
        elif isinstance(event.value, str):
            self.text += event.value
        else:
            self.objects.append(event.value)
        self.lengths.append(len(self.text))


def place_of(offset: str) -> tuple[str, bool]:
    """Return an offset without its tag and ``.end``, and whether the offset has ``.end``."""
    return "_".join(offset.split("_")[:2]).removesuffix(".end"), offset.endswith(".end")
