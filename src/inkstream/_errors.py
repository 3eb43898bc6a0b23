"""Every error that inkstream raises.

InkstreamError
├── InvalidInput               a caller's mistake; nothing was changed
│   ├── InvalidStreamId
│   ├── InvalidOffset          malformed
│   ├── InvalidMessage         not text and not JSON, or too deep
│   └── LimitExceeded
│       ├── MessageTooLarge
│       └── StreamTooLarge
├── StreamNotFound             never existed, was deleted, has expired, or is another owner's
│   └── StreamGone             deleted, kept only for its forks
├── StreamExists
├── OffsetGone                 of another generation of the stream, or past its tail
├── StreamConflict             the stream's status does not allow this
│   ├── NotClaimed             somebody else is its writer, or it has ended
│   └── StreamEnded
├── WriterFenced               this writer was superseded, cancelled, or its stream deleted
├── TooManyStreams
├── TooManyReaders
├── ShuttingDown               the process is draining; ask another
├── NotRunning                 the instance was not started, or on another event loop
├── StoreError
│   ├── StoreUnavailable       away, full or read-only; nothing is lost, try again
│   │   └── OutcomeUnknown     it went away in the middle of a commit
│   └── SchemaOutdated         the database must be migrated; the message says how
└── StreamError                raised by a *source*, with words for its reader
"""

from __future__ import annotations

from typing import Any

from inkstream._arguments import check_text


class InkstreamError(Exception):
    """The root of everything that inkstream raises on purpose."""

    code = "error"
    """The stable word that a remote client sees."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Python's own way calls __init__ with args, which is the finished message here: task
        # queues and process pools send exceptions so.
        return _remade, (type(self), self.args, self.__dict__)


def _remade(
    kind: type[InkstreamError], args: tuple[Any, ...], facts: dict[str, Any]
) -> InkstreamError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class InvalidInput(InkstreamError, ValueError):
    """A caller gave something that cannot be right; nothing was changed."""

    code = "invalid"


class InvalidStreamId(InvalidInput):
    """The text cannot name a stream."""

    code = "invalid_stream_id"

    def __init__(self, value: Any) -> None:
        super().__init__(
            f"{value!r:.80} cannot name a stream: use a string of 1 to 512 characters "
            "without control characters, or let create() make one"
        )
        self.value = value


class InvalidOffset(InvalidInput):
    """The text is not an offset that inkstream ever gave out."""

    code = "invalid_offset"

    def __init__(self, value: Any) -> None:
        super().__init__(
            f"{value!r:.80} is not an offset: send back one that a stream gave, or '-1' "
            "for the start"
        )
        self.value = value


class InvalidMessage(InvalidInput):
    """A message is neither text nor a JSON value that can be kept exactly."""

    code = "invalid_message"


class LimitExceeded(InvalidInput):
    """A configured limit would be passed. Facts: ``limit`` and ``actual``, both in bytes."""

    code = "limit_exceeded"

    def __init__(self, message: str, *, limit: int, actual: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.actual = actual


class MessageTooLarge(LimitExceeded):
    """One message is larger than ``Limits.message_bytes``."""

    code = "message_too_large"


class StreamTooLarge(LimitExceeded):
    """The stream would become larger than ``Limits.stream_bytes``."""

    code = "stream_too_large"


class _OfStream(InkstreamError):
    """An error about one stream, which it names in ``stream_id``."""

    def __init__(self, stream_id: str, message: str) -> None:
        super().__init__(message)
        self.stream_id = stream_id


class StreamNotFound(_OfStream, LookupError):
    """No such stream for this caller: never created, deleted, expired, or another's."""

    code = "not_found"

    def __init__(self, stream_id: str, message: str | None = None) -> None:
        super().__init__(stream_id, message or f"there is no stream {stream_id!r}")


class StreamGone(StreamNotFound):
    """The stream was deleted and is kept only because forks read its messages."""

    code = "gone"

    def __init__(self, stream_id: str) -> None:
        super().__init__(stream_id, f"stream {stream_id!r} was deleted")


class StreamExists(_OfStream):
    """A stream of this id exists already."""

    code = "exists"

    def __init__(self, stream_id: str) -> None:
        super().__init__(stream_id, f"stream {stream_id!r} exists already")


class OffsetGone(_OfStream):
    """The offset belongs to an earlier stream of the same id, or lies past the tail."""

    code = "offset_gone"

    def __init__(self, stream_id: str, offset: str) -> None:
        super().__init__(
            stream_id,
            f"offset {offset} is not of this stream {stream_id!r} (it was created anew, or "
            "restored from a backup): start again from the beginning",
        )
        self.offset = offset


class StreamConflict(_OfStream):
    """The stream's status does not allow what was asked; ``status`` says which it has."""

    code = "conflict"

    def __init__(self, stream_id: str, status: str, message: str) -> None:
        super().__init__(stream_id, message)
        self.status = status


class NotClaimed(StreamConflict):
    """The stream could not be claimed: another writer has it, or it has ended."""

    code = "not_claimed"


class StreamEnded(StreamConflict):
    """The stream has ended, so nothing can be appended."""

    code = "ended"


class WriterFenced(_OfStream):
    """This writer may write no more: superseded, cancelled, timed out, or its stream deleted.

    ``status`` is the stream's status now, ``None`` when the stream is gone.
    """

    code = "fenced"

    def __init__(self, stream_id: str, status: str | None) -> None:
        now = "was deleted" if status is None else f"is {status}"
        super().__init__(
            stream_id, f"the writer of stream {stream_id!r} lost it: the stream {now} elsewhere"
        )
        self.status = status


class TooManyStreams(InkstreamError):
    """The owner, or this process, has as many live streams as ``Limits`` allows."""

    code = "too_many_streams"

    def __init__(self, message: str, *, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class TooManyReaders(InkstreamError):
    """The stream, or this process, has as many readers as ``Limits`` allows."""

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
    """The instance is not started, or was started on another event loop or in another process."""

    code = "not_running"


class StoreError(InkstreamError):
    """The database did not do what was asked."""

    code = "store"


class StoreUnavailable(StoreError):
    """The database is away, full or read-only. What was asked did not happen; try again."""

    code = "store_unavailable"


class OutcomeUnknown(StoreUnavailable):
    """The database went away during a commit: it happened, or it did not; read to find out."""

    code = "store_unavailable"


class SchemaOutdated(StoreError):
    """The database's schema is older or newer than this version can use."""

    code = "schema_outdated"


class StreamError(InkstreamError):
    """Raise this in a source to end its stream ``error`` with words meant for the reader.

    Any other exception ends it ``error`` too, with code ``internal`` and no detail: the traceback
    goes to the log only.

    Args:
        message: Shown to readers.
        code: A stable word for programs.
        result: The application's own JSON value, kept with the end.
    """

    def __init__(self, message: str, *, code: str = "error", result: Any = None) -> None:
        check_text(message=message, code=code)
        super().__init__(message)
        self.message = message
        self.code = code
        self.result = result
