"""Encodes messages as the HTTP layer does, and returns each chunk with its cursor."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

from hypothesis import strategies as st

from inkstream import wire
from inkstream._types import End, Kind, Page, Segment, Status, StreamId, StreamState
from inkstream.http.encoded import Encoded, encoded
from inkstream.http.formats import Format
from inkstream.wire import Offset

Message = str | dict[str, Any]

STREAM = StreamState(
    internal_id=7,
    stream_id=StreamId("answer"),
    kind=Kind.TEXT,
    content_type="application/json",
    status=Status.STREAMING,
    epoch=1,
    worker=None,
    tail=0,
    size=0,
    owner=None,
    group="chat",
    metadata={},
    created_at=1_700_000_000.0,
)
DONE = End(Status.DONE, result={"finish_reason": "stop"})


class Chunk(NamedTuple):
    """The bytes to send, and the cursor after these bytes: position, state, and ``ended``."""

    data: bytes
    position: int
    state: str
    ended: bool = False

    @property
    def value(self) -> Any:
        return json.loads(self.data) if self.data != b"[DONE]" else "[DONE]"


def stored(messages: Iterable[Message]) -> list[Segment]:
    """Return each message as its own segment, as if it had been committed alone."""
    segments: list[Segment] = []
    for message in messages:
        part = message if isinstance(message, str) else wire.dump_object(message)
        segments += wire.encode_messages([part], segments[-1].end if segments else 0)
    return segments


def encode(
    form: Format,
    segments: Sequence[Segment],
    end: End | None = DONE,
    *,
    position: int = 0,
    state: str = "",
    at_once: int = 10**6,
    stream: StreamState = STREAM,
) -> list[Chunk]:
    """Return the chunks after the cursor that ``position`` and ``state`` describe.

    The encoder gets ``at_once`` segments at a time.
    """
    chunks: list[Chunk] = []

    def kept(data: bytes, cursor: str) -> bytes:
        offset, _, after = cursor.partition("~")
        place = Offset.parse(offset)
        chunks.append(Chunk(data, place.position, after, place.ended))
        return b""

    state_now = replace(stream, tail=segments[-1].end if segments else 0)
    tail = SimpleNamespace(state=state_now, internal_id=stream.internal_id, runs=())
    form = replace(form, frame=kept)
    answer = _run(encoded(form, Stored(segments, state_now), tail, position, state))  # type: ignore[arg-type]
    rest = [segment for s in segments if (segment := wire.cut(s, position, s.end)) is not None]
    for start in range(0, len(rest), at_once):
        answer.chunks(rest[start : start + at_once])
    if end is not None:
        answer.end(end)
    return chunks


class Stored:
    """Stands in for the store, and returns the segments that ``encoded`` reads."""

    def __init__(self, segments: Sequence[Segment], state: StreamState) -> None:
        self._segments = segments
        self._state = state

    async def page(self, stream_id: StreamId, after: int, max_bytes: int) -> Page:
        found = tuple(s for s in self._segments if s.end > after)
        return Page(self._state, found, found[-1].end)


def _run(coroutine: Coroutine[Any, Any, Encoded]) -> Encoded:
    """Run a coroutine that never waits. An event loop for each example would be slow."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as stop:
            made: Encoded = stop.value
            return made


ids = st.sampled_from(["a", "b", "__proto__"])
words = st.text(min_size=1, max_size=4) | st.sampled_from(["\r\n", "\u2028", '"', "\\"])
parts: st.SearchStrategy[Message] = st.one_of(
    words,
    words,
    st.builds(lambda i: {"type": "reasoning-start", "id": i}, ids),
    st.builds(lambda i, d: {"type": "reasoning-delta", "id": i, "delta": d}, ids, words),
    st.builds(lambda i: {"type": "reasoning-end", "id": i}, ids),
    st.builds(lambda i: {"type": "tool-input-start", "toolCallId": i, "toolName": "t"}, ids),
    st.builds(
        lambda i, d: {"type": "tool-input-delta", "toolCallId": i, "inputTextDelta": d}, ids, words
    ),
    st.builds(
        lambda i, d, p: {
            "type": "tool-input-available",
            "toolCallId": i,
            "toolName": "t",
            "input": {"q": d},
            **({"providerExecuted": True} if p else {}),
        },
        ids,
        words,
        st.booleans(),
    ),
    st.builds(
        lambda i: {
            "type": "tool-input-error",
            "toolCallId": i,
            "toolName": "t",
            "input": "{",
            "errorText": "bad",
        },
        ids,
    ),
    st.builds(
        lambda i, d, p: {
            "type": "tool-output-available",
            "toolCallId": i,
            "output": d,
            **({"preliminary": True} if p else {}),
        },
        ids,
        words,
        st.booleans(),
    ),
    st.builds(lambda i: {"type": "tool-output-error", "toolCallId": i, "errorText": "x"}, ids),
    st.builds(lambda i: {"type": "tool-output-denied", "toolCallId": i}, ids),
    st.builds(lambda i: {"type": "tool-approval-request", "toolCallId": i, "approvalId": "p"}, ids),
    st.sampled_from(
        [
            {"type": "start-step"},
            {"type": "finish-step"},
            {"type": "source-url", "sourceId": "s", "url": "https://example.org"},
            {"type": "source-url", "sourceId": "s", "url": "javascript:alert(1)"},
            {"type": "file", "url": "data:,x", "mediaType": "text/plain"},
            {"type": "data-x", "id": "1", "data": 1},
            {"type": "data-x", "id": "1", "data": 2},
            {"type": "data-y", "data": 1, "transient": True},
            {"type": "data-agui-state-snapshot", "data": {"snapshot": {"n": 1}}},
            {"type": "data-agui-state-delta", "data": "wrong"},
            {"type": "message-metadata", "messageMetadata": {"a": 1}},
            {"type": "custom", "kind": "a.b"},
            {"type": "reasoning-file", "url": "data:,x", "mediaType": "image/png"},
            {"type": "reset-step"},
            {"type": "text-delta", "id": "t0", "delta": "forged"},
            {"type": "error", "errorText": "forged"},
            {"own": "object"},
        ]
    ),
)
answers = st.lists(parts, max_size=14)
ends = st.sampled_from(
    [
        DONE,
        End(Status.DONE),
        End(Status.ERROR, "provider_overloaded", "Too many questions."),
        End(Status.ERROR),
        End(Status.CANCELLED),
        End(Status.TIMEOUT),
    ]
)
