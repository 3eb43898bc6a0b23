"""The objects of the synchronous facade: a writer, and an iterator over a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from inkstream._types import JSON, End, Status, StreamBody, StreamId
from inkstream.facade import handles
from inkstream.sync._loop import LoopThread


class StreamWriter:
    """Append to a claimed stream; what ``PersistentTextStreaming.write`` gives."""

    def __init__(self, thread: LoopThread, writer: handles.StreamWriter) -> None:
        self._thread = thread
        self._writer = writer

    @property
    def stream_id(self) -> StreamId:
        """The stream that is written."""
        return self._writer.stream_id

    @property
    def result(self) -> JSON:
        """A JSON value to be kept with the end, if set before the block ends."""
        return self._writer.result

    @result.setter
    def result(self, result: JSON) -> None:
        self._writer.result = result

    def body(self) -> StreamBody:
        """Return what is stored of the stream, what others wrote before a take-over included."""
        return self._thread.call(self._writer.body())

    def append(self, message: str | Mapping[str, JSON]) -> None:
        """Accept a piece of text or a JSON object; wait while too much is not durable yet.

        Raises:
            WriterFenced: The stream is not this writer's any more: cancelled, say.
            MessageTooLarge, StreamTooLarge, InvalidMessage
        """
        self._thread.call(self._writer.append(message))

    def flush(self) -> None:
        """Wait until everything accepted so far is durable."""
        self._thread.call(self._writer.flush())

    def finish(
        self,
        status: Status | str = Status.DONE,
        *,
        code: str | None = None,
        message: str | None = None,
        result: JSON = None,
    ) -> None:
        """End the stream now, with all that was accepted before; durable on return."""
        self._thread.call(self._writer.finish(status, code=code, message=message, result=result))

    def release(self) -> None:
        """Let go of the stream for another to take over; it keeps ``streaming`` meanwhile."""
        self._thread.call(self._writer.release())


class Following:
    """Iterate over a stream as it comes; what ``PersistentTextStreaming.follow`` gives."""

    def __init__(self, streams: object, thread: LoopThread, following: handles.Following) -> None:
        self._streams = streams  # kept, for what is followed would stop when it is dropped
        self._thread = thread
        self._following = following

    @property
    def offset(self) -> str | None:
        """After the last item that was handed out; ``None`` at the start."""
        return self._following.offset

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> str | Mapping[str, JSON] | End:
        """Wait for the next piece of text, JSON object, or the end."""
        try:
            return self._thread.call(self._following.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Stop following."""
        self._thread.call(self._following.aclose())

    def __enter__(self) -> Self:
        """Return itself, to be closed with the block."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop following."""
        self.close()
