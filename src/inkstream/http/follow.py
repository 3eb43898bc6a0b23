"""Find one stream for a request, check permission, and open the stream at the request's offset."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from starlette.requests import Request

from inkstream._errors import StreamConflict, StreamGone, StreamNotFound
from inkstream._types import Page, StreamId, StreamState
from inkstream.engine.engine import Engine
from inkstream.engine.reader import Reader
from inkstream.engine.readers import require_messages
from inkstream.http.connection import HTTPSettings
from inkstream.http.encoded import split_cursor
from inkstream.http.formats import Format
from inkstream.http.lifetime import Lifetime
from inkstream.wire import Offset

ABSENT_WAIT_S: Final = 1.0
"""How many seconds a request waits for an absent stream, because somebody may create it now."""

_LAST_ID_PARAMETERS: Final = ("lasteventid", "evslasteventid")
"""Query parameters in which polyfills of ``EventSource`` send the offset.

Case, ``-`` and ``_`` make no difference in these names.
"""

Allow = Callable[[StreamState], Awaitable[bool]]
Found = TypeVar("Found")


def requested_offset(request: Request) -> str | None:
    """Return the offset in a request, unchanged. ``None`` means the start of the stream."""
    last = request.headers.get("last-event-id")
    if last:
        return last
    # When a polyfill adds its parameter, the URL may already contain an older ``offset``. So look
    # for the polyfill's parameter first.
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if value:
            given.setdefault(name.lower().replace("-", "").replace("_", ""), value)
    for name in _LAST_ID_PARAMETERS:
        if name in given:
            return given[name]
    return request.query_params.get("offset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """One stream that a response follows, with the settings for the response.

    Attributes:
        request: The request. Its ``?format=``, ``Accept`` and ``If-None-Match`` are used.
        given: The offset or cursor to continue from, as the client sent it.
        format: The format, if the application chose one; the request then has no choice.
        allow: Returns whether this caller may read the stream; ``None`` allows every caller.
        ask_again: Whether to call ``allow`` again from time to time during the response.
        started: Claims the stream that this request starts. The response awaits ``started`` before
            it opens the stream.
    """

    engine: Engine
    stream_id: StreamId
    request: Request
    given: str | None
    settings: HTTPSettings
    format: str | Format | None = None
    allow: Allow | None = None
    ask_again: bool = False
    started: Awaitable[object] | None = None

    @property
    def offset(self) -> str | None:
        """The offset to continue from, without the encoder's state."""
        return self.cursor[0]

    @property
    def cursor(self) -> tuple[str | None, str | None]:
        """The offset and the encoder's state to continue from; see ``split_cursor``."""
        if self.given is None or not isinstance(self.format, Format):
            return self.given, None
        return split_cursor(self.given)

    async def _found(self, read: Callable[[], Awaitable[Found]]) -> Found:
        """Call ``read``. If ``read`` finds no stream, repeat the call for ``ABSENT_WAIT_S``.

        For a denied stream, ``read`` must raise ``StreamNotFound``. Then the response takes as long
        as for an absent stream, so the delay does not show that the stream exists.
        """
        clock = self.engine.clock
        until = clock.monotonic() + ABSENT_WAIT_S
        pause = 0.02
        while True:
            try:
                return await read()
            except StreamGone:
                if self.allow is None:
                    raise
                # A stream that is gone has no state to pass to ``allow``, so it must look absent.
            except StreamNotFound:
                pass
            left = until - clock.monotonic()
            if left <= 0:
                raise StreamNotFound(self.stream_id)
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 2, 0.2)

    async def _allowed(self, allow: Allow) -> StreamState:
        denied = False

        async def read() -> StreamState:
            nonlocal denied
            state = await self.engine.readers.state(self.stream_id)
            if denied or not await allow(state):
                denied = True
                raise StreamNotFound(self.stream_id)
            return state

        return await self._found(read)

    async def open(self, *, fresh: bool = False) -> tuple[StreamState, Reader]:
        """Return the stream's state, and a reader that starts at the offset.

        With ``fresh``, this method reads the state from the store. Without ``fresh``, the state may
        be slightly old.

        Raises:
            InvalidOffset, OffsetGone, StreamNotFound, TooManyReaders, StoreUnavailable
            StreamConflict: The stream is a byte stream, which has no messages.
        """
        offset, readers = self.offset, self.engine.readers
        if offset is not None and offset != "now":
            Offset.parse(offset)  # a malformed offset is refused first, even if no stream exists

        async def look() -> tuple[StreamState, Page | None]:
            return await readers.look(self.stream_id, offset, fresh=fresh)

        if self.allow is None:
            state, page = await self._found(look)
            allowed = state
        else:
            # Check permission before reading text. Otherwise the read would delay the response, and
            # a denied caller could see from this delay that the stream exists.
            allowed = await self._allowed(self.allow)
            state, page = await look()
        reader = await readers.open(self.stream_id, offset, page)
        if not reader.tail.internal_id == state.internal_id == allowed.internal_id:
            reader.close()  # after the check, perhaps another user created a stream with this id
            raise StreamNotFound(self.stream_id)
        try:
            require_messages(state)
        except StreamConflict:
            reader.close()
            raise
        return state, reader

    def has_seen_end(self, reader: Reader) -> bool:
        """Return whether the client has seen the terminal event, according to its offset."""
        tail = reader.tail
        last = Offset.at(tail, tail.position, ended=True)
        return tail.end is not None and self.offset == str(last)

    def lifetime(self, reader: Reader, *, cut_by_age: bool) -> Lifetime:
        """Return the limits of a connection that follows the stream."""
        allow, tail = self.allow, reader.tail
        again: Callable[[], Awaitable[bool]] | None = None
        if allow is not None and self.ask_again:
            ask = allow

            async def again() -> bool:
                return await ask(tail.state)

        return Lifetime(
            self.engine.clock,
            self.settings,
            cut_by_age=cut_by_age,
            allowed=again,
            interrupt=reader.interrupt,
        )
