"""The objects that the facade returns."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Self

from inkstream import wire
from inkstream._arguments import check_text
from inkstream._errors import ShuttingDown, StoreUnavailable, StreamNotFound
from inkstream._types import JSON, End, Page, Status, StreamBody, StreamId, StreamState
from inkstream.engine.engine import Engine
from inkstream.engine.reader import Reader, ReaderSentAway
from inkstream.engine.readers import require_messages
from inkstream.engine.writer import Writer

_RETRY_S = 0.5
"""The pause before another call of an unavailable store."""


_FINAL = tuple(status for status in Status if status.ended)


class StreamWriter:
    """Append to a claimed stream. ``PersistentTextStreaming.write`` yields this object.

    Attributes:
        result: A JSON value that is stored with the stream's end, whatever the final status,
            unless ``finish`` gets another ``result``.
    """

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer

    def __repr__(self) -> str:
        state = "active" if self._writer.active else "stopped"
        return f"<StreamWriter of {self.stream_id!r}, epoch {self._writer.epoch}, {state}>"

    @property
    def stream_id(self) -> StreamId:
        """The id of the stream."""
        return self._writer.stream_id

    @property
    def result(self) -> JSON:  # noqa: D102 - an attribute of the class
        return self._writer.result

    @result.setter
    def result(self, value: JSON) -> None:
        self._writer.remember(value)

    async def body(self) -> StreamBody:
        """Return the stored stream, including the text of earlier writers."""
        if not self._writer.stopped.done():
            await self.flush()
        return body_of(await self._engine.readers.pages(self.stream_id))

    async def append(self, message: str | Mapping[str, JSON]) -> None:
        """Accept a piece of text or a JSON object; see ``Writer.append``."""
        if not self._writer.append_at_once(message):
            await self._writer.append(message)

    async def flush(self) -> None:
        """Wait until all messages accepted so far are durable."""
        await self._writer.flush()

    async def stopped(self) -> None:
        """Wait until the stream is cancelled, deleted, taken over, released or ended.

        Call this method while your code waits for something else. Otherwise your code notices the
        stop only at the next ``append`` or ``flush``, which raises ``WriterFenced``.
        """
        await asyncio.shield(self._writer.stopped)

    async def finish(
        self,
        status: Status | str = Status.DONE,
        *,
        code: str | None = None,
        message: str | None = None,
        result: JSON = None,
    ) -> None:
        """End the stream now, after all accepted messages. The end is durable on return.

        Raises:
            ValueError: ``status`` is not a final status.
            InvalidMessage: The result is not JSON.
            MessageTooLarge: The result is larger than ``Limits.message_bytes``.
            WriterFenced, StoreUnavailable
        """
        if status not in _FINAL:
            words = ", ".join(repr(final.value) for final in _FINAL)
            raise ValueError(f"status must be one of {words}, not {status!r:.80}")
        status = Status(status)
        check_text(code=code, message=message)
        await self._engine.writers.finish(self._writer, End(status, code, message, result))

    async def release(self) -> None:
        """Let go of the stream. It stays ``streaming``, so another writer may take it over."""
        await self._engine.writers.release(self._writer)


class Listing:
    """A page of streams without their text.

    Attributes:
        streams: The states of the streams, newest first.
        cursor: Where the next page begins; ``None`` if this page is the last.
    """

    def __init__(self, streams: Sequence[StreamState], cursor: str | None) -> None:
        self.streams = tuple(streams)
        self.cursor = cursor

    def __repr__(self) -> str:
        return f"<Listing of {len(self.streams)} streams, cursor {self.cursor!r}>"


class Following:
    """Iterate over a stream while it grows. ``PersistentTextStreaming.follow`` returns this."""

    def __init__(
        self,
        engine: Engine,
        stream_id: StreamId,
        offset: str | None,
        *,
        allow: Callable[[StreamState], bool],
    ) -> None:
        self._engine = engine
        self._stream_id = stream_id
        self._offset = offset
        self._allow = allow
        self._iterator = self._follow()

    def __repr__(self) -> str:
        return f"<Following of {self._stream_id!r} after {self._offset!r}>"

    @property
    def offset(self) -> str | None:
        """The offset after the last item; before the first item, the offset given to ``follow``."""
        return self._offset

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | Mapping[str, JSON] | End:
        """Return the next item: a piece of text, a JSON object, or the ``End``.

        If this call is cancelled, for example by a timeout, no item is lost: the next call goes on.
        """
        try:
            return await anext(self._iterator)
        except asyncio.CancelledError:
            self._iterator = self._follow()  # the cancellation has ended the old generator
            raise

    async def aclose(self) -> None:
        """Stop following."""
        await self._iterator.aclose()

    async def check(self) -> None:
        """Raise now the error that the first item would raise.

        If the offset is ``"now"``, the iteration begins at the stream's tail at this call, or if
        the store is unavailable, at the tail when the store is back.

        Raises:
            StreamNotFound, OffsetGone, InvalidOffset, TooManyReaders, ShuttingDown
            StreamConflict: The stream contains bytes, not messages.
        """
        # If the store is unavailable, raise no error, because the iteration waits for the store.
        with contextlib.suppress(ReaderSentAway, StoreUnavailable):
            reader = await self._engine.readers.open(self._stream_id, self._offset)
            reader.close()
            self._check(reader.tail.state)
            self._fix_now(reader)

    def _check(self, state: StreamState) -> None:
        if not self._allow(state):
            raise StreamNotFound(self._stream_id)
        require_messages(state)

    async def _follow(self) -> AsyncGenerator[str | Mapping[str, JSON] | End]:
        while True:
            try:
                async for item in self._follow_once():
                    yield item
                return
            except (ReaderSentAway, StoreUnavailable):
                if self._engine.life.draining:
                    raise ShuttingDown from None
            await asyncio.sleep(_RETRY_S)

    async def _follow_once(self) -> AsyncGenerator[str | Mapping[str, JSON] | End]:
        reader = await self._engine.readers.open(self._stream_id, self._offset)
        try:
            self._check(reader.tail.state)
            self._fix_now(reader)
            while True:
                for position, message in wire.joined(await reader.segments()):
                    self._move(reader, position)
                    yield message if isinstance(message, str) else wire.load_json(message.raw)
                if reader.end is not None:
                    self._offset = str(reader.offset)
                    yield reader.end
                    return
        finally:
            reader.close()

    def _fix_now(self, reader: Reader) -> None:
        if self._offset == "now":
            self._move(reader, reader.position)  # a second reader must begin here, not at "now"

    def _move(self, reader: Reader, position: int) -> None:
        self._offset = str(wire.Offset.at(reader.tail, position))


def body_of(pages: Sequence[Page]) -> StreamBody:
    """Return one ``StreamBody`` for the pages of a stream."""
    state = pages[-1].state
    pieces = (piece for page in pages for piece in page.segments)
    after = 0
    cut = []
    for piece in pieces:
        rest = wire.cut(piece, after)
        if rest is not None:
            cut.append(rest)
            after = rest.end
    parts = [
        part if isinstance(part, str) else wire.load_json(part.raw) for _, part in wire.joined(cut)
    ]
    here = wire.Offset.at(state, pages[-1].end, ended=state.ended)
    return StreamBody(
        stream_id=state.stream_id,
        status=state.status,
        text="".join(part for part in parts if isinstance(part, str)),
        parts=tuple(parts),
        end=End(state.status, state.code, state.message, state.result) if state.ended else None,
        metadata=state.metadata,
        owner=state.owner,
        group=state.group,
        created_at=state.created_at,
        started_at=state.started_at,
        ended_at=state.ended_at,
        offset=str(here),
    )
