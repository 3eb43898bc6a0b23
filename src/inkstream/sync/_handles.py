"""The objects of the synchronous facade: a writer, and an iterator over a stream."""

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
        """A JSON value to store with the end, if it is set before the block ends."""
        return self._writer.result

    @result.setter
    def result(self, result: JSON) -> None:
        self._writer.result = result

    def body(self) -> StreamBody:
        """Return the stored stream, including the text of earlier writers."""
        return self._thread.call(self._writer.body())

    def append(self, message: str | Mapping[str, JSON]) -> None:
        """Accept a piece of text or a JSON object. Wait while too much text is not durable yet.

        Raises:
            WriterFenced: This writer no longer owns the stream, for example after a cancel.
            MessageTooLarge, StreamTooLarge, InvalidMessage
        """
        self._thread.call(self._writer.append(message))

    def flush(self) -> None:
        """Wait until everything accepted so far is durable."""
        self._thread.call(self._writer.flush())

    def stopped(self) -> None:
        """Wait, in a thread of its own, until the stream is no longer this writer's.

        Cancelled, taken over, or ended. The writer's next ``append`` or ``flush`` raises anyway.
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
        """End the stream now, after everything accepted before. The end is durable on return."""
        self._thread.call(self._writer.finish(status, code=code, message=message, result=result))

    def release(self) -> None:
        """Release the stream, so that another writer may take over. It stays ``streaming``."""
        self._thread.call(self._writer.release())


class Following:
    """Iterate over a stream as it grows. ``PersistentTextStreaming.follow`` returns this."""

    def __init__(self, streams: object, thread: LoopThread, following: handles.Following) -> None:
        self._streams = streams  # keep a reference, because a collected instance stops following
        self._thread = thread
        self._following = following

    @property
    def offset(self) -> str | None:
        """The offset after the last item returned; ``None`` at the start."""
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
        """Return itself. The end of the block closes it."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop following."""
        self.close()
