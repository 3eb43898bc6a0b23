"""Parse an event stream (WHATWG HTML, 9.2.6) from bytes as they arrive.

``iter_lines`` of ``httpx`` is not used, because it also splits lines at U+2028 and U+0085, which
may stand inside JSON.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")


class Event(NamedTuple):
    """One event. ``data`` is ``None`` if the event contains only an id.

    ``id`` is empty if the event has no id. A browser would give such an event the id of the
    previous event. But then a reader could not see that the event has no place in the stream.
    """

    kind: str
    data: str | None
    id: str


class EventParser:
    """Turn bytes into events.

    An id counts only when its event is complete. Otherwise, after a connection that broke inside an
    event, the reader would skip that event.

    Attributes:
        retry_s: How long the server asks a client to wait before it reconnects, or ``None``.
    """

    def __init__(self) -> None:
        self.retry_s: float | None = None
        self._buffer = bytearray()
        self._scanned = 0
        self._kind = ""
        self._data: list[str] = []
        self._id: str | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that these bytes complete."""
        self._buffer += data
        events: list[Event] = []
        start = 0
        for match in _LINE_END.finditer(self._buffer, self._scanned):
            if match[0] == b"\r" and match.end() == len(self._buffer):
                break  # this may be the first half of CRLF
            self._take(self._buffer[start : match.start()].decode("utf-8", "replace"), events)
            start = match.end()
        del self._buffer[:start]
        # Search each byte only once, but the last byte again, because it may be the "\r" of a CRLF.
        self._scanned = max(0, len(self._buffer) - 1)
        return events

    def _take(self, line: str, events: list[Event]) -> None:
        if not line:
            self._dispatch(events)
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._kind = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_s = int(value) / 1000

    def _dispatch(self, events: list[Event]) -> None:
        if self._data:
            data = "\n".join(self._data)
            events.append(Event(self._kind or "message", data, self._id or ""))
        elif self._id:
            events.append(Event("message", None, self._id))
        self._kind, self._data, self._id = "", [], None
