"""The classes of inkstream's errors.

InkstreamError
├── InvalidInput               a caller's mistake; nothing was changed
│   ├── InvalidStreamId
│   ├── InvalidOffset          the text is not an offset
│   ├── InvalidMessage         a message or a result cannot be stored
│   └── LimitExceeded
│       ├── MessageTooLarge
│       └── StreamTooLarge
├── StreamNotFound             the stream never existed, was deleted, expired, or has another owner
│   └── StreamGone             the stream was deleted, and is kept only for its forks
├── StreamExists
├── OffsetGone                 the offset is not a place in the stream now
├── StreamConflict             the stream's kind or status does not allow the operation
│   ├── NotClaimed             the stream has or had another writer, or has ended
│   └── StreamEnded
├── WriterFenced               this writer may not write its stream any more
├── TooManyStreams
├── TooManyReaders
├── ShuttingDown               the process is draining; ask another process
├── NotRunning                 the caller is not on the event loop of a running instance
├── StoreError
│   ├── StoreUnavailable       the database is away, full or read-only; nothing changed, try again
│   │   └── OutcomeUnknown     the commit may have succeeded; read the stream to find out
│   └── SchemaOutdated         the database's schema is too old or too new; the message says which
└── StreamError                an application's source raises this, with a message for readers
"""

from __future__ import annotations

import inspect
from typing import Any

from inkstream._arguments import check_text


class InkstreamError(Exception):
    """The base class of inkstream's errors."""

    code = "error"
    """The stable word that a remote client sees."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Task queues and process pools pickle exceptions. Without this method, pickle would call
        # ``__init__`` with only the message, and many of the classes would raise ``TypeError``.
        return _remade, (type(self), self.args, self.__dict__)


def _remade(
    kind: type[InkstreamError], args: tuple[Any, ...], facts: dict[str, Any]
) -> InkstreamError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class InvalidInput(InkstreamError, ValueError):
    """The caller passed an invalid value. The call changed nothing."""

    code = "invalid"


class InvalidStreamId(InvalidInput):
    """The text is not a valid stream id."""

    code = "invalid_stream_id"

    def __init__(self, value: Any) -> None:
        remedy = (
            "await it first: 'stream_id = await streams.create()'"
            if inspect.isawaitable(value)
            else "use a string of 1 to 512 characters without control characters, but not '.' or "
            "'..', or let create() make one"
        )
        super().__init__(f"{value!r:.80} cannot name a stream: {remedy}")
        self.value = value


class InvalidOffset(InvalidInput):
    """The text is not an offset in the format of inkstream."""

    code = "invalid_offset"

    def __init__(self, value: Any) -> None:
        super().__init__(
            f"{value!r:.80} is not an offset: use an offset that inkstream gave, or '-1' "
            "for the start"
        )
        self.value = value


class InvalidMessage(InvalidInput):
    """A message or a result cannot be stored, for example because it is neither text nor JSON."""

    code = "invalid_message"


class LimitExceeded(InvalidInput):
    """The input is larger than a limit, usually one of ``Limits``.

    Attributes:
        limit: The limit, in bytes. For a request with too many messages: in messages.
        actual: The size that exceeds the limit, in the unit of ``limit``.
    """

    code = "limit_exceeded"

    def __init__(self, message: str, *, limit: int, actual: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.actual = actual


class MessageTooLarge(LimitExceeded):
    """A message, the metadata of a stream, or a result is larger than ``Limits.message_bytes``.

    Or a request of the Durable Streams protocol contains too many messages.
    """

    code = "message_too_large"


class StreamTooLarge(LimitExceeded):
    """The stream would become larger than ``Limits.stream_bytes``."""

    code = "stream_too_large"


class _OfStream(InkstreamError):
    """An error about the stream ``stream_id``."""

    def __init__(self, stream_id: str, message: str) -> None:
        super().__init__(message)
        self.stream_id = stream_id


class StreamNotFound(_OfStream, LookupError):
    """No stream with this id exists for the caller.

    The stream was never created, was deleted, has expired, or belongs to another owner.
    """

    code = "not_found"

    def __init__(self, stream_id: str, message: str | None = None) -> None:
        super().__init__(stream_id, message or f"there is no stream {stream_id!r}")


class StreamGone(StreamNotFound):
    """The stream was deleted, but the store keeps its messages, because forks read them."""

    code = "gone"

    def __init__(self, stream_id: str) -> None:
        super().__init__(stream_id, f"stream {stream_id!r} was deleted")


class StreamExists(_OfStream):
    """A stream with this id exists already, or was deleted and is kept for its forks."""

    code = "exists"

    def __init__(self, stream_id: str) -> None:
        super().__init__(
            stream_id,
            f"stream {stream_id!r} exists already, or was deleted and is kept for its forks",
        )


class OffsetGone(_OfStream):
    """The offset is well-formed, but is not a place in the stream now.

    For example, the offset belongs to an earlier stream with this id, the store has lost the
    messages before the offset, or the offset lies past the stream's tail.
    """

    code = "offset_gone"

    def __init__(self, stream_id: str, offset: str) -> None:
        super().__init__(
            stream_id,
            f"offset {offset} is not in stream {stream_id!r} now (for example, the stream was "
            "created anew, or the database was restored): read the stream again from its start",
        )
        self.offset = offset


class StreamConflict(_OfStream):
    """The stream's kind or status does not allow the operation.

    The attribute ``status`` is the stream's status.
    """

    code = "conflict"

    def __init__(self, stream_id: str, status: str, message: str) -> None:
        super().__init__(stream_id, message)
        self.status = status


class NotClaimed(StreamConflict):
    """The stream could not be claimed, because it has or had another writer, or has ended."""

    code = "not_claimed"


class StreamEnded(StreamConflict):
    """The stream has ended, so nothing can be appended."""

    code = "ended"


class WriterFenced(_OfStream):
    """This writer may not write its stream any more.

    The message gives the reason: another writer took the stream over, the stream has ended or was
    deleted, this writer let go of the stream, or the database lost text of the stream.

    The attribute ``status`` is the stream's status when the writer was fenced, or ``None`` if the
    stream did not exist any more. If this process is just ending the stream, ``status`` is the
    final status that the stream gets.
    """

    code = "fenced"

    def __init__(self, stream_id: str, status: str | None, message: str) -> None:
        super().__init__(stream_id, message)
        self.status = status


class TooManyStreams(InkstreamError):
    """``Limits`` allows no further stream for this owner or for this process.

    Or the settings of a Durable Streams application allow no further stream.
    """

    code = "too_many_streams"

    def __init__(self, message: str, *, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class TooManyReaders(InkstreamError):
    """The stream or this process has as many readers as ``Limits`` allows."""

    code = "too_many_readers"

    def __init__(self, message: str, *, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class ShuttingDown(InkstreamError):
    """This process is draining and starts no new answers."""

    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("this process is shutting down and starts no new streams; try again")


class NotRunning(InkstreamError, RuntimeError):
    """The instance was not started, or the caller is not on the event loop of the instance.

    A child process that uses the instance of its parent also gets this error.
    """

    code = "not_running"


class StoreError(InkstreamError):
    """The database could not do the operation."""

    code = "store"


class StoreUnavailable(StoreError):
    """The database did not do the operation: for example, it is unreachable, full or read-only.

    The call changed nothing, unless the error is an ``OutcomeUnknown``. Try again later.
    """

    code = "store_unavailable"


class OutcomeUnknown(StoreUnavailable):
    """It is not known whether the commit succeeded, for instance because the connection was lost.

    Read the stream to find out.
    """

    code = "outcome_unknown"


class SchemaOutdated(StoreError):
    """The database's schema is too old or too new for this version of inkstream."""

    code = "schema_outdated"


class StreamError(InkstreamError):
    """Raise this in a source to end the stream ``error`` with your own message for readers.

    After most other exceptions in a source, the stream also ends ``error``, but readers get a
    general message and the code ``internal``. After an ``InvalidInput``, readers get the code of
    this exception instead of ``internal``. inkstream logs these exceptions.

    Args:
        message: The sentence that readers see.
        code: A stable word for programs.
        result: A JSON value of the application, which is stored with the end.
    """

    def __init__(self, message: str, *, code: str = "error", result: Any = None) -> None:
        check_text(message=message, code=code)
        super().__init__(message)
        self.message = message
        self.code = code
        self.result = result
