"""A reader's requests and its reactions to responses, as a state machine without I/O.

For each request, ``AsyncReader`` and ``Reader`` call ``backoff.pause``, ``address``, ``headers``
and ``accepts``. If ``accepts`` returns false, they call ``refuse``. Otherwise they call ``take``
for each piece of the body. After the last piece they call ``finish`` and ``broke``, unless ``take``
has returned the stream's end. If the connection breaks, they call ``broke``. ::

    posting ──200, Stream-Id──▶ following ──204──▶ ended, end unknown ──snapshot──▶ ended
       │                           └─event: end──▶ ended
       │ broken before the response: PostUncertain · not connected, 429, 503: wait, then post again

    following: 410 to an offset: OffsetGone
               404: retry for 5 s if the stream was never seen, else StreamNotFound
               408, 425, 429, ≥ 502, broken, silent: wait, then continue from the offset
               an end that skips messages: the same, but the second time RequestRefused

A server or proxy may ignore the offset of a request. So ``_is_new`` compares each event's id with
the offset: an event that was seen before is dropped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import httpx

from inkstream._errors import OffsetGone, OutcomeUnknown, StreamGone, StreamNotFound
from inkstream._types import JSON, End, Status
from inkstream.client._backoff import Backoff, passes, retry_after
from inkstream.client._errors import PostUncertain, RequestRefused
from inkstream.client._events import Event, EventParser

Item: TypeAlias = "str | Mapping[str, JSON] | End"
"""A piece of text, a JSON object, or, at last, how the stream ended.

A JSON log may contain other JSON values too, if a client of the Durable Streams protocol appended
them.
"""

CONNECT_S: Final = 6.0

SILENCE_S: Final = 37.5
"""After this many seconds without a byte, a connection counts as lost.

The value is 2.5 times the default of ``HTTPSettings.ping_s``.
"""

UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Errors that occur before a request is sent, so that even a POST can be repeated."""

_UNMET_S: Final = 5.0
"""For how many seconds a reader retries after a 404, because somebody may create the stream now."""

_EVENTS: Final = "text/event-stream"
_JSON: Final = "application/json"

_Place: TypeAlias = tuple[str, str]
"""A stream's internal id and a position in it, both of fixed width, so that they sort as text."""


def _place(offset: str | None) -> _Place | None:
    """Return the place that an offset names; ``None`` for the start and for ``now``."""
    internal_id, _, rest = (offset or "").partition("_")
    return (internal_id, rest.removesuffix(".end").partition("_")[0]) if rest else None


class Reading:
    """How far a reader has come in a stream, and the reader's next request.

    Attributes:
        method: The next request's method. A reader made by ``post`` sends ``POST`` until a response
            names the stream. Every other request is a ``GET``.
        url, body: The next request's URL and JSON body.
        stream_id: The stream's id, after the server has sent it.
        offset: The offset after the last item returned; ``None``: the start.
        end: How the stream ended, after the end was returned.
    """

    def __init__(
        self,
        url: str,
        offset: str | None,
        patience_s: float | None,
        *,
        streams_url: str | None = None,
        body: object = None,
    ) -> None:
        self.method = "GET" if streams_url is None else "POST"
        self.url = url
        self.body = body
        self.stream_id: str | None = None
        self.offset = offset
        self.end: End | None = None
        self._streams_url = streams_url
        self.backoff = Backoff(url, patience_s)
        self._parser = EventParser()
        self._met = offset is not None
        self._began_at = time.monotonic()
        self._saw_end = False
        self._snapshot = bytearray()
        self._posting = False
        """Whether a POST was sent whose response has not arrived."""
        self._asked: str | None = None
        """The offset in the request that was sent last."""
        self._gap_after: str | None = ""
        """The reader's offset when an end skipped messages; empty if no end has skipped any."""

    def over(self) -> bool:
        return self.end is not None

    def begin(self) -> None:
        """Begin to read, for the first time or again."""
        self.backoff.began()
        self._began_at = time.monotonic()

    def address(self) -> str:
        """Return the URL of the next request, with the offset.

        The offset is also in a header, because some proxies drop the query, and other
        proxies drop the header.
        """
        if self.offset is None:
            return self.url
        separator = "&" if "?" in self.url else "?"
        return f"{self.url}{separator}offset={quote(self.offset, safe='')}"

    def headers(self) -> dict[str, str]:
        """Return the headers of a request that is now sent.

        Raises:
            PostUncertain: The caller abandoned an earlier POST before its response.
        """
        if self._posting:
            self._posting = False
            raise PostUncertain(self.url, "the request was abandoned")
        self._posting = self.method == "POST"
        self.backoff.asked()
        self._asked = self.offset
        self._parser = EventParser()
        self._snapshot.clear()
        asked = {"accept": _JSON if self._saw_end else _EVENTS, "cache-control": "no-store"}
        # A proxy that compresses the response would delay short pieces.
        asked["accept-encoding"] = "identity"
        if self.offset is not None:
            asked["last-event-id"] = self.offset
        return asked

    def accepts(self, status: int, headers: Mapping[str, str]) -> bool:
        """Return whether the response's body contains messages, which ``take`` must then get.

        Raises:
            RequestRefused: The response to a POST has no stream id, so the reader could not go on.
        """
        self._posting = False
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if status != 200 or media_type != (_JSON if self._saw_end else _EVENTS):
            return False
        self.stream_id = headers.get("stream-id")
        if self.method == "POST":
            if not self.stream_id:
                raise RequestRefused(
                    self.url, 200, "no_stream_id", "the response has no header Stream-Id"
                )
            self.method, self.body = "GET", None
            self.url = f"{self._streams_url}/{quote(self.stream_id, safe='')}"
        return True

    def take(self, data: bytes) -> Generator[Item, None, None]:
        """Yield the items that ``data`` completes. ``offset`` moves with each item.

        Raises:
            OffsetGone: The events belong to another stream than the offset.
            RequestRefused: An event is malformed, or the end skips messages again.
            httpx.RemoteProtocolError: The end skips messages: read again from the offset.
        """
        self.backoff.heard()
        self._met = True
        if self._saw_end:
            self._snapshot += data
            return
        events = self._parser.feed(data)
        if self._parser.retry_s is not None:
            self.backoff.base_s = self._parser.retry_s
        for event in events:
            if event.kind not in ("message", "end"):
                continue  # a later version of the server may send more kinds of events
            item = self._item(event)
            is_new = self._is_new(event.id)
            if isinstance(item, End):
                self._require_all_before(event.id)
                self.end = item
            elif not is_new:
                continue
            self.offset = event.id
            if event.data is None:
                continue
            self.backoff.moved()
            yield item
            if self.over():
                return  # a later event is not a part of the stream

    def finish(self) -> Generator[Item, None, None]:
        """Yield the items of a snapshot, which can be parsed only when it is complete.

        Raises:
            OffsetGone: The snapshot belongs to another stream than the offset.
        """
        if not self._snapshot:
            return
        try:
            snapshot = json.loads(self._snapshot)
            parts, offset = list(snapshot["parts"]), str(snapshot["offset"])
            end = _end_of(snapshot) if Status(snapshot["status"]).ended else None
        except (ValueError, LookupError, TypeError):
            self.backoff.failed("an incomplete snapshot")
            return
        if self._is_new(offset):
            yield from parts
        self.offset = offset
        self._saw_end = False
        if end is not None:
            self.end = end
            yield end

    def refuse(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Handle a response without messages: plan the next request, or raise an error.

        Raises:
            StreamNotFound, StreamGone, OffsetGone, RequestRefused
            PostUncertain: The server does not know whether it has stored the change of a POST.
        """
        problem = _problem_of(body)
        code = str(problem.get("code", "unexpected_content"))
        detail = str(problem.get("detail") or body[:80].decode("utf-8", "replace"))
        if self.method == "POST" and status not in (429, 503):
            # Do not repeat the POST: after a 502 or 504, the server may have accepted it.
            raise RequestRefused(self.url, status, code, detail)
        if self.method == "POST" and code == OutcomeUnknown.code:
            raise PostUncertain(self.url, f"{status} {code}")
        if status == 204 and not self._saw_end:
            self._saw_end = True  # the next request gets the snapshot, which contains the end
            return
        if passes(status):
            self.backoff.failed(f"{status} {code}", retry_after(headers))
        elif status == 404 and not self._met and time.monotonic() - self._began_at < _UNMET_S:
            self.backoff.failed("404: there is no such stream yet")
        elif status == 404:
            raise StreamNotFound(self.url, f"there is no stream at {self.url}")
        elif status == 410 and self.offset is not None and code != "gone":
            raise OffsetGone(self.url, self.offset)
        elif status == 410:
            raise StreamGone(self.url)
        else:
            raise RequestRefused(self.url, status, code, detail)

    def broke(self, reason: str, *, unsent: bool = False) -> None:
        """Record that a body or a connection ended before the stream's end.

        Raises:
            PostUncertain: A POST was sent, and the server may or may not have accepted it.
        """
        self._posting = False
        if self.method == "POST" and not unsent:
            raise PostUncertain(self.url, reason)
        self.backoff.failed(reason)

    def _is_new(self, offset: str) -> bool:
        """Return whether the reader has not yet seen the event whose id is ``offset``.

        Raises:
            OffsetGone: ``offset`` belongs to another stream, which has this address now.
            RequestRefused: One response contains the events of two streams.
        """
        known, place = _place(self.offset), _place(offset)
        if known is None:
            return True
        if place is not None and place[0] == known[0]:
            return place[1] > known[1]
        if self.offset == self._asked:
            raise OffsetGone(self.url, str(self.offset))
        raise self._invalid(f"the event {offset:.80} belongs to another stream than {self.offset}")

    def _require_all_before(self, offset: str) -> None:
        """Raise an error if the end at ``offset`` does not follow the last message directly."""
        known, place = _place(self.offset), _place(offset)
        if place is None or self.offset == "now":
            return
        if place[1].strip("0") == "" if known is None else place == known:
            return
        problem = f"the end {offset:.80} does not follow the offset {self.offset or 'of the start'}"
        if self._gap_after == self.offset:
            raise self._invalid(problem)
        self._gap_after = self.offset
        raise httpx.RemoteProtocolError(problem)

    def _invalid(self, detail: str) -> RequestRefused:
        return RequestRefused(self.url, 200, "invalid_event", detail)

    def _item(self, event: Event) -> Any:
        if not event.id:
            raise self._invalid(f"an event has no id: {event.data:.80}")
        try:
            value = json.loads("null" if event.data is None else event.data)
            return _end_of(value) if event.kind == "end" else value
        except (ValueError, LookupError, TypeError) as exc:
            raise self._invalid(f"{event.data:.80}") from exc


def _end_of(fields: Mapping[str, Any]) -> End:
    return End(Status(fields["status"]), fields["code"], fields["message"], fields["result"])


def _problem_of(body: bytes) -> dict[str, Any]:
    try:
        problem = json.loads(body)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}
