"""Pure functions for a PUT: the new stream, or the response if the stream exists already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from inkstream._errors import InvalidMessage, LimitExceeded
from inkstream._runs import generation_of
from inkstream._types import End, Fork, Kind, NewStream, Segment, Status, StreamId, StreamState
from inkstream.durable.protocol import FORK, Marks, tail_headers
from inkstream.durable.refusal import Refusal, Reply
from inkstream.durable.requests import (
    DEFAULT_CONTENT_TYPE,
    CreateRequest,
    ForkRequest,
    bad,
    media_type,
)
from inkstream.engine.settings import Limits
from inkstream.wire import Offset

MOST_FORKS: Final = 64
"""How many ancestors a fork may have. A read of a fork may visit all its ancestors."""


@dataclass(frozen=True, slots=True)
class ForkNote:
    """The parameters of a fork, stored as a mark of the fork.

    The server compares a repeated PUT with these parameters. ``ancestors`` are the internal ids of
    the streams whose offsets the fork accepts, each with the last accepted position (sections 4.2
    and 8 of the protocol).
    """

    source: StreamId
    anchor: int
    sub_offset: int
    ttl_s: float | None
    expires_at: float | None
    ancestors: tuple[tuple[int, int], ...]

    def dump(self) -> bytes:
        """Return the bytes of the mark."""
        return json.dumps(
            [self.source, self.anchor, self.sub_offset, self.ttl_s, self.expires_at, self.ancestors]
        ).encode()

    @classmethod
    def load(cls, marks: Marks) -> ForkNote | None:
        """Return the note in a stream's marks, or ``None`` if the stream is not a fork."""
        if FORK not in marks:
            return None
        source, anchor, sub, ttl_s, expires_at, ancestors = json.loads(marks[FORK])
        known = tuple((int(internal_id), int(until)) for internal_id, until in ancestors)
        return cls(StreamId(source), anchor, sub, ttl_s, expires_at, known)


def position_of(state: StreamState, marks: Marks, offset: Offset) -> int | None:
    """Return an offset's position in a stream, or ``None`` if the server must refuse the offset."""
    if offset.lies_in(state):
        return offset.position
    note = ForkNote.load(marks)
    for internal_id, until in () if note is None else note.ancestors:
        if offset.internal_id == internal_id and offset.position <= until:
            generation = generation_of(state.runs, offset.position)
            return offset.position if offset.generation == generation else None
    return None


def create(request: CreateRequest, now: float, limits: Limits) -> NewStream:
    """Return the stream that a PUT without fork headers creates.

    Raise ``Refusal`` for a body that is too large or malformed.
    """
    content_type = request.content_type or DEFAULT_CONTENT_TYPE
    ttl_s, due_at = request.ttl_s, request.expires_at
    if ttl_s is not None:
        due_at = now + ttl_s
    return _new(request, content_type, now, ttl_s, due_at, limits)


def fork(
    request: CreateRequest,
    source: StreamState,
    source_marks: Marks,
    now: float,
    limits: Limits,
) -> NewStream:
    """Return the stream that a PUT with fork headers creates.

    Raises:
        Refusal: The fork's offset, depth, content type or body is not allowed.
    """
    asked = request.fork
    assert asked is not None
    content_type = request.content_type or source.content_type
    if media_type(content_type) != media_type(source.content_type):
        raise Refusal(
            409,
            "content_type_mismatch",
            f"A fork has the content type of its source: {media_type(source.content_type)}.",
        )
    anchor = source.tail
    if asked.offset is not None:
        found = position_of(source, source_marks, asked.offset)
        if found is None:
            raise bad("invalid_fork", "Stream-Fork-Offset is not an offset of the source.")
        anchor = found
    position = anchor + asked.sub_offset
    if position > source.tail:
        raise bad("invalid_fork", "Stream-Fork-Sub-Offset is past the end of the source.")
    ttl_s, due_at = request.ttl_s, request.expires_at
    if ttl_s is None and due_at is None and source.kind is Kind.LOG:
        ttl_s, due_at = source.ttl_s, source.due_at
    if ttl_s is not None:
        due_at = now + ttl_s
    above = ForkNote.load(source_marks)
    ancestors = [(source.internal_id, position)]
    if above is not None:
        if len(above.ancestors) >= MOST_FORKS:
            raise bad(
                "fork_too_deep",
                f"The source is a fork of forks, {MOST_FORKS} deep: fork one of its ancestors.",
            )
        ancestors += [(of, min(until, position)) for of, until in above.ancestors]
    note = ForkNote(
        asked.source,
        anchor,
        asked.sub_offset,
        request.ttl_s,
        request.expires_at,
        tuple(ancestors),
    )
    return _new(
        request,
        content_type,
        now,
        ttl_s,
        due_at,
        limits,
        branch=Fork(source.internal_id, position),
        marks={FORK: note.dump()},
    )


def _new(
    request: CreateRequest,
    content_type: str,
    now: float,
    ttl_s: float | None,
    due_at: float | None,
    limits: Limits,
    *,
    branch: Fork | None = None,
    marks: Mapping[str, bytes] | None = None,
) -> NewStream:
    return NewStream(
        stream_id=request.stream_id,
        kind=Kind.LOG,
        content_type=content_type,
        created_at=now,
        due_at=due_at,
        ttl_s=ttl_s,
        append=_first(request, content_type, limits),
        marks=marks or {},
        end=End(Status.DONE) if request.closed else None,
        fork=branch,
    )


def _first(request: CreateRequest, content_type: str, limits: Limits) -> Segment | None:
    is_json = media_type(content_type) == "application/json"
    try:
        return request.body.segment(is_json=is_json, message_bytes=limits.message_bytes)
    except LimitExceeded as exc:
        raise Refusal(413, exc.code, str(exc)) from exc
    except InvalidMessage as exc:
        raise bad(exc.code, str(exc)) from exc


def created(state: StreamState, location: str) -> Reply:
    """Return the response to the PUT that created a stream."""
    headers = {"content-type": state.content_type, "location": location, **tail_headers(state)}
    return Reply(201, headers)


def exists(state: StreamState, marks: Marks, request: CreateRequest) -> Reply:
    """Return the response to a PUT for a stream that exists.

    Raises:
        Refusal: The stream has another configuration than the request.
    """
    note = ForkNote.load(marks)
    if note is None:
        expires_at = state.due_at if state.ttl_s is None and state.kind is Kind.LOG else None
        lifetime = (state.ttl_s, expires_at)
    else:
        lifetime = (note.ttl_s, note.expires_at)
    is_same = (
        _same_type(state, request)
        and lifetime == (request.ttl_s, request.expires_at)
        and state.ended == request.closed
        and _same_fork(note, request.fork)
    )
    if not is_same:
        raise Refusal(
            409,
            "exists",
            "A stream with another configuration exists here already.",
            tail_headers(state),
        )
    return Reply(200, {"content-type": state.content_type, **tail_headers(state)})


def _same_type(state: StreamState, request: CreateRequest) -> bool:
    if request.content_type is None:
        return True
    return media_type(request.content_type) == media_type(state.content_type)


def _same_fork(note: ForkNote | None, asked: ForkRequest | None) -> bool:
    if note is None or asked is None:
        return note is None and asked is None
    # A PUT without an offset means the source's tail, which may have moved since the first PUT. So
    # a repeated PUT without an offset matches any position.
    return (
        note.source == asked.source
        and note.sub_offset == asked.sub_offset
        and (asked.offset is None or asked.offset.position == note.anchor)
    )
