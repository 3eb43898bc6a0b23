"""Parse and check the headers and query of requests; no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from inkstream._errors import InvalidOffset
from inkstream._types import StreamId
from inkstream.durable.body import Body
from inkstream.durable.refusal import Refusal
from inkstream.wire import START, Offset

DEFAULT_CONTENT_TYPE: Final = "application/octet-stream"

_ZERO: Final = "0000000000000000_0000000000000000"
"""The start of a stream, as the protocol's reference server and its test suite write it."""

_COUNT: Final = re.compile(r"0|[1-9][0-9]{0,14}", re.ASCII)
_SAFE_INTEGER: Final = re.compile(r"[0-9]{1,16}", re.ASCII)
_MAX_SAFE: Final = 2**53 - 1
_TIMESTAMP: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}"
    r"(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
_CONTENT_TYPE: Final = re.compile(
    r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*(;[\x20-\x7e\t]*)?", re.ASCII
)
_CURSOR: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_MAX_PRODUCER_ID: Final = 256
_MAX_SEQ: Final = 1024


@dataclass(frozen=True, slots=True)
class Producer:
    """A producer, and the sequence number of one of its appends."""

    id: str
    epoch: int
    seq: int

    @property
    def mark(self) -> str:
        """The name of the mark that stores this producer's epoch and last sequence number."""
        return f"p:{self.id}"


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """The stream that a fork copies (``source``), and the place up to which the fork copies it.

    The place is ``sub_offset`` messages (in a byte stream: bytes) after ``offset``. An ``offset``
    of ``None`` means the tail of ``source``.
    """

    source: StreamId
    offset: Offset | None
    sub_offset: int


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """A PUT. A ``content_type`` of ``None`` means that the header was missing."""

    stream_id: StreamId
    content_type: str | None
    ttl_s: float | None
    expires_at: float | None
    closed: bool
    fork: ForkRequest | None
    body: Body


@dataclass(frozen=True, slots=True)
class AppendRequest:
    """A POST: append, close, or both."""

    content_type: str | None
    closed: bool
    seq: bytes | None
    producer: Producer | None
    body: Body


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A GET. An ``offset`` of ``None`` means the start of the stream."""

    offset: Offset | Literal["now"] | None
    live: Literal["long-poll", "sse"] | None
    cursor: int | None


def bad(code: str, detail: str) -> Refusal:
    """Return the refusal of a malformed request."""
    return Refusal(400, code, detail)


def is_closing(headers: Mapping[str, str]) -> bool:
    """Return whether ``Stream-Closed`` is ``true``; any other value counts as absent."""
    return headers.get("stream-closed", "").strip().lower() == "true"


def content_type_of(headers: Mapping[str, str]) -> str | None:
    """Return the content type, if any. Raise ``Refusal`` if it is not a media type."""
    given = headers.get("content-type", "").strip()
    if not given:
        return None
    if len(given) > 256 or _CONTENT_TYPE.fullmatch(given) is None:
        raise bad("invalid_content_type", "Content-Type is not a media type.")
    return given


def media_type(content_type: str) -> str:
    """Return a content type in lower case without parameters, for comparisons."""
    return content_type.partition(";")[0].strip().lower()


def lifetime_of(headers: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Return ``Stream-TTL`` in seconds, and ``Stream-Expires-At`` in seconds since 1970.

    Raises:
        Refusal: One of the headers is malformed, or both were given.
    """
    ttl, expires = headers.get("stream-ttl"), headers.get("stream-expires-at")
    if ttl is not None and expires is not None:
        raise bad("invalid_lifetime", "Give Stream-TTL or Stream-Expires-At, not both.")
    if ttl is not None:
        if _COUNT.fullmatch(ttl) is None:
            raise bad("invalid_ttl", "Stream-TTL is a whole number of seconds, like 3600.")
        return float(ttl), None
    if expires is None:
        return None, None
    if _TIMESTAMP.fullmatch(expires) is None:
        raise bad("invalid_expires_at", "Stream-Expires-At is an RFC 3339 timestamp.")
    try:
        return None, datetime.fromisoformat(expires.upper()).timestamp()
    except (ValueError, OverflowError) as exc:
        raise bad("invalid_expires_at", "Stream-Expires-At is not a date that exists.") from exc


def producer_of(headers: Mapping[str, str]) -> Producer | None:
    """Return the idempotent producer of a request, or ``None`` if no header names one.

    Raises:
        Refusal: Some of the three ``Producer-`` headers are missing or malformed.
    """
    given = [headers.get(f"producer-{name}") for name in ("id", "epoch", "seq")]
    if all(value is None for value in given):
        return None
    name, epoch, seq = given
    if name is None or epoch is None or seq is None:
        raise bad("invalid_producer", "Producer-Id, Producer-Epoch and Producer-Seq go together.")
    if not 0 < len(name) <= _MAX_PRODUCER_ID:
        raise bad("invalid_producer", f"Producer-Id has 1 to {_MAX_PRODUCER_ID} characters.")
    return Producer(name, _safe_integer(epoch), _safe_integer(seq))


def _safe_integer(text: str) -> int:
    if _SAFE_INTEGER.fullmatch(text) is None or int(text) > _MAX_SAFE:
        raise bad(
            "invalid_producer", "Producer-Epoch and Producer-Seq are whole numbers up to 2^53-1."
        )
    return int(text)


def append_request(headers: Mapping[str, str], body: bytes) -> AppendRequest:
    """Parse a POST. Raise ``Refusal`` if it is malformed."""
    closed = is_closing(headers)
    producer = producer_of(headers)
    seq = headers.get("stream-seq")
    if seq is not None and not 0 < len(seq) <= _MAX_SEQ:
        raise bad("invalid_seq", f"Stream-Seq has 1 to {_MAX_SEQ} characters.")
    if not body and not closed:
        raise bad("empty_body", "There is nothing to append: send a body, or Stream-Closed: true.")
    # If the body is empty, ignore the content type, because some client libraries send it in any
    # case (section 5.2 of the protocol).
    content_type = content_type_of(headers) if body else None
    if body and content_type is None:
        raise bad("missing_content_type", "Send the body's Content-Type.")
    return AppendRequest(
        content_type,
        closed,
        None if seq is None else seq.encode("latin-1", "replace"),
        producer,
        Body(body),
    )


def _offset_of(text: str) -> Offset:
    return START if text == _ZERO else Offset.parse(text)


def fork_request(headers: Mapping[str, str], source: StreamId | None) -> ForkRequest | None:
    """Parse the headers of a fork of ``source``. Raise ``Refusal`` if a header is malformed."""
    offset, sub = headers.get("stream-fork-offset"), headers.get("stream-fork-sub-offset")
    if source is None:
        if offset is not None or sub is not None:
            raise bad("invalid_fork", "A fork offset needs Stream-Forked-From.")
        return None
    if sub is not None and _COUNT.fullmatch(sub) is None:
        raise bad("invalid_fork", "Stream-Fork-Sub-Offset is a whole number.")
    try:
        anchor = None if offset is None else _offset_of(offset)
    except InvalidOffset as exc:
        raise bad("invalid_offset", "Stream-Fork-Offset is not an offset of a stream.") from exc
    return ForkRequest(source, anchor, int(sub or 0))


def create_request(
    stream_id: StreamId, headers: Mapping[str, str], source: StreamId | None, body: bytes
) -> CreateRequest:
    """Parse a PUT. Raise ``Refusal`` if it is malformed."""
    ttl_s, expires_at = lifetime_of(headers)
    fork = fork_request(headers, source)
    content_type = content_type_of(headers)
    if content_type is None and fork is None:
        content_type = DEFAULT_CONTENT_TYPE
    return CreateRequest(
        stream_id, content_type, ttl_s, expires_at, is_closing(headers), fork, Body(body)
    )


def read_request(query: Sequence[tuple[str, str]]) -> ReadRequest:
    """Parse a GET. Raise ``Refusal`` if it is malformed; ignore unknown parameters."""
    offsets = [value for name, value in query if name == "offset"]
    if len(offsets) > 1:
        raise bad("invalid_offset", "Give one offset.")
    offset: Offset | Literal["now"] | None = None
    if offsets == ["now"]:
        offset = "now"
    elif offsets:
        try:
            offset = _offset_of(offsets[0])
        except InvalidOffset as exc:
            raise bad("invalid_offset", "The offset does not come from a stream.") from exc
    given = dict(query)
    live: Literal["long-poll", "sse"] | None = None
    match given.get("live"):
        case "long-poll":
            live = "long-poll"
        case "sse":
            live = "sse"
        case None:
            pass
        case _:
            raise bad("invalid_live", "live is long-poll or sse.")
    if live is not None and offset is None:
        raise bad("missing_offset", "A live read needs an offset; -1 is the start, now the tail.")
    cursor = given.get("cursor", "")
    return ReadRequest(offset, live, int(cursor) if _CURSOR.fullmatch(cursor) else None)
