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
├── OffsetGone                 the offset is of another generation, or past the stream's tail
├── StreamConflict             the stream's status does not allow this
│   ├── NotClaimed             another writer has it, or it has ended
│   └── StreamEnded
├── WriterFenced               another writer, a cancel or a delete has replaced this writer
├── TooManyStreams
├── TooManyReaders
├── ShuttingDown               the process is draining; ask another process
├── NotRunning                 the instance was not started, or runs on another event loop
├── StoreError
│   ├── StoreUnavailable       the database is away, full or read-only; nothing is lost, try again
│   │   └── OutcomeUnknown     the database went away in the middle of a commit
│   └── SchemaOutdated         the database must be migrated; the message says how
└── StreamError                raised by a *source*, with words for its reader
"""

from __future__ import annotations

from typing import Any

from inkstream._arguments import check_text


class InkstreamError(Exception):
    """The base class of all errors of inkstream."""

    code = "error"
    """The stable word that a remote client sees."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Task queues and process pools pickle exceptions. Without this method, pickle would call
        # __init__ with the finished message as its only argument.
        return _remade, (type(self), self.args, self.__dict__)


def _remade(
    kind: type[InkstreamError], args: tuple[Any, ...], facts: dict[str, Any]
) -> InkstreamError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class InvalidInput(InkstreamError, ValueError):
    """The caller passed an invalid value; nothing was changed."""

    code = "invalid"


class InvalidStreamId(InvalidInput):
    """The text is not a valid stream id."""

    code = "invalid_stream_id"

    def __init__(self, value: Any) -> None:
        super().__init__(
            f"{value!r:.80} cannot name a stream: use a string of 1 to 512 characters "
            "without control characters, or let create() make one"
        )
        self.value = value


class InvalidOffset(InvalidInput):
    """The text is not an offset in the format of inkstream."""

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
    """The input is larger than a configured limit. Facts: ``limit`` and ``actual``, in bytes."""

    code = "limit_exceeded"

    def __init__(self, message: str, *, limit: int, actual: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.actual = actual


class MessageTooLarge(LimitExceeded):
    """A message, the metadata of a stream, or a result is larger than ``Limits.message_bytes``."""

    code = "message_too_large"


class StreamTooLarge(LimitExceeded):
    """The stream would become larger than ``Limits.stream_bytes``."""

    code = "stream_too_large"


class _OfStream(InkstreamError):
    """An error about one stream; ``stream_id`` names the stream."""

    def __init__(self, stream_id: str, message: str) -> None:
        super().__init__(message)
        self.stream_id = stream_id


class StreamNotFound(_OfStream, LookupError):
    """The caller has no such stream.

    The stream was never created, was deleted, has expired, or belongs to another owner.
    """

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
    """The stream's status does not allow the operation; ``status`` is the stream's status."""

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
    """This writer may not write any more.

    Another writer took over, or the stream was cancelled, timed out or was deleted.

    ``status`` is the stream's status now, or ``None`` if the stream does not exist any more.
    """

    code = "fenced"

    def __init__(self, stream_id: str, status: str | None) -> None:
        now = "was deleted" if status is None else f"is {status}"
        super().__init__(
            stream_id,
            f"this writer lost stream {stream_id!r}: another operation changed the stream, "
            f"which {now}",
        )
        self.status = status


class TooManyStreams(InkstreamError):
    """The owner, or this process, already has as many live streams as ``Limits`` allows."""

    code = "too_many_streams"

    def __init__(self, message: str, *, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class TooManyReaders(InkstreamError):
    """The stream, or this process, already has as many readers as ``Limits`` allows."""

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
    """The database could not do the operation."""

    code = "store"


class StoreUnavailable(StoreError):
    """The database cannot be reached, is full or is read-only. Nothing was changed; try again."""

    code = "store_unavailable"


class OutcomeUnknown(StoreUnavailable):
    """The connection was lost during a commit. Read the stream to see whether it was committed."""

    code = "store_unavailable"


class SchemaOutdated(StoreError):
    """The database's schema is too old or too new for this version of inkstream."""

    code = "schema_outdated"


class StreamError(InkstreamError):
    """Raise this in a source to end its stream with status ``error`` and a message for the reader.

    Any other exception in a source also gives the stream the status ``error``, but with code
    ``internal`` and without details for the reader: only the log has the traceback.

    Args:
        message: The sentence that readers see.
        code: A stable word for programs.
        result: The application's own JSON value, kept with the end.
    """

    def __init__(self, message: str, *, code: str = "error", result: Any = None) -> None:
        check_text(message=message, code=code)
        super().__init__(message)
        self.message = message
        self.code = code
        self.result = result
