"""Persistent text streaming: inkstream saves a text while it sends the text to browsers."""

from dataclasses import is_dataclass

from inkstream._errors import (
    InkstreamError,
    InvalidInput,
    InvalidMessage,
    InvalidOffset,
    InvalidStreamId,
    LimitExceeded,
    MessageTooLarge,
    NotClaimed,
    NotRunning,
    OffsetGone,
    OutcomeUnknown,
    SchemaOutdated,
    ShuttingDown,
    StoreError,
    StoreUnavailable,
    StreamConflict,
    StreamEnded,
    StreamError,
    StreamExists,
    StreamGone,
    StreamNotFound,
    StreamTooLarge,
    TooManyReaders,
    TooManyStreams,
    WriterFenced,
)
from inkstream._types import JSON, End, Kind, Status, StreamBody, StreamId, StreamState
from inkstream.engine.generation import Append, Message, Result, Source
from inkstream.engine.settings import Limits, Timing
from inkstream.facade.handles import Following, Listing, StreamWriter
from inkstream.facade.stops import quiet_stop
from inkstream.facade.streaming import PersistentTextStreaming
from inkstream.http.asgi import Authorize
from inkstream.http.bundle import browser_files
from inkstream.http.connection import HTTPSettings
from inkstream.http.problems import problem_handler
from inkstream.http.response import StreamResponse
from inkstream.operations.description import StreamDescription
from inkstream.operations.health import Health

__all__ = [
    "JSON",
    "Append",
    "Authorize",
    "End",
    "Following",
    "HTTPSettings",
    "Health",
    "InkstreamError",
    "InvalidInput",
    "InvalidMessage",
    "InvalidOffset",
    "InvalidStreamId",
    "Kind",
    "LimitExceeded",
    "Limits",
    "Listing",
    "Message",
    "MessageTooLarge",
    "NotClaimed",
    "NotRunning",
    "OffsetGone",
    "OutcomeUnknown",
    "PersistentTextStreaming",
    "Result",
    "SchemaOutdated",
    "ShuttingDown",
    "Source",
    "Status",
    "StoreError",
    "StoreUnavailable",
    "StreamBody",
    "StreamConflict",
    "StreamDescription",
    "StreamEnded",
    "StreamError",
    "StreamExists",
    "StreamGone",
    "StreamId",
    "StreamNotFound",
    "StreamResponse",
    "StreamState",
    "StreamTooLarge",
    "StreamWriter",
    "Timing",
    "TooManyReaders",
    "TooManyStreams",
    "WriterFenced",
    "__version__",
    "browser_files",
    "problem_handler",
    "quiet_stop",
]

__version__ = "0.1.0.dev0"

for _name in __all__:
    _value = globals()[_name]
    # Show the public name of a class, such as ``inkstream.Health``. But a dataclass must keep its
    # ``__module__``, because tools look up the names in the class's annotations in the module that
    # ``__module__`` names.
    if isinstance(_value, type) and not is_dataclass(_value):
        _value.__module__ = __name__
