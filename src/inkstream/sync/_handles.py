"""The objects that the synchronous facade returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from inkstream._types import JSON, End, Status, StreamBody, StreamId
from inkstream.facade import handles
from inkstream.sync._loop import LoopThread


class StreamWriter:
    """Append to a claimed stream. ``PersistentTextStreaming.write`` yields this object."""

    def __init__(self, thread: LoopThread, writer: handles.StreamWriter) -> None:
        self._thread = thread
        self._writer = writer

    @property
    def stream_id(self) -> StreamId:
        """The id of the stream."""
        return self._writer.stream_id

    @property
    def result(self) -> JSON:
        """A JSON value to store with the stream's end. Set this value inside the ``with`` block."""
        return self._writer.result

    @result.setter
    def result(self, result: JSON) -> None:
        self._writer.result = result

    def body(self) -> StreamBody:
        """Return the stored stream, including the text of earlier writers."""
        return self._thread.call(self._writer.body())

    def append(self, message: str | Mapping[str, JSON]) -> None:
        """Accept a piece of text or a JSON object. Wait only while the buffer is full.

        Raises:
            WriterFenced: The stream was cancelled, taken over or deleted, or has ended.
            MessageTooLarge, StreamTooLarge, InvalidMessage, StoreUnavailable
        """
        self._thread.call(self._writer.append(message))

    def flush(self) -> None:
        """Wait until all messages accepted so far are durable."""
        self._thread.call(self._writer.flush())

    def stopped(self) -> None:
        """Wait until the stream is cancelled, deleted, taken over, released or ended.

        Call this method on a separate thread. Without this call, your code notices the stop only at
        the next ``append`` or ``flush``, which raises ``WriterFenced``.
        """
        self._thread.call(self._writer.stopped())

    def finish(
        self,
        status: Status | str = Status.DONE,
        *,
        code: str | None = None,
        message: str | None = None,
        result: JSON = None,
    ) -> None:
        """End the stream now, after all accepted messages. The end is durable on return."""
        self._thread.call(self._writer.finish(status, code=code, message=message, result=result))

    def release(self) -> None:
        """Let go of the stream. It stays ``streaming``, so another writer may take it over."""
        self._thread.call(self._writer.release())


class Following:
    """Iterate over a stream while it grows. ``PersistentTextStreaming.follow`` returns this."""

    def __init__(self, streams: object, thread: LoopThread, following: handles.Following) -> None:
        self._streams = streams  # garbage collection of the instance would end this iteration
        self._thread = thread
        self._following = following

    @property
    def offset(self) -> str | None:
        """The offset after the last item; before the first item, the offset given to ``follow``."""
        return self._following.offset

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str | Mapping[str, JSON] | End:
        """Wait for the next item and return it: a piece of text, a JSON object, or the ``End``."""
        try:
            return self._thread.call(self._following.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Stop following."""
        self._thread.call(self._following.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
