"""Adjacent deltas of a reasoning or a tool input are one part when the stream is read."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inkstream import PersistentTextStreaming, wire
from inkstream._types import Segment
from inkstream.http.snapshot import Snapshot
from inkstream.wire import Offset, RawJSON

Message = str | dict[str, Any]


def reasoning(text: str, name: str = "r") -> dict[str, Any]:
    return {"type": "reasoning-delta", "id": name, "delta": text}


def tool_input(text: str, name: str = "c") -> dict[str, Any]:
    return {"type": "tool-input-delta", "toolCallId": name, "inputTextDelta": text}


names = st.sampled_from(["r", "", '"', "__proto__"])
words = st.text(max_size=3) | st.sampled_from(["\u2028", '"', "\r\n", "\\", "\ud83d"])
messages_lists: st.SearchStrategy[list[Message]] = st.lists(
    words.filter(bool)
    | st.builds(reasoning, words, names)
    | st.builds(tool_input, words, names)
    | st.sampled_from(
        [
            {"type": "reasoning-delta", "id": "r", "delta": "x", "providerMetadata": {}},
            {"type": "reasoning-delta", "id": 1, "delta": "x"},
            {"type": ["reasoning-delta"], "id": "r", "delta": "x"},
            {"about": 'a "-delta"'},
        ]
    ),
    max_size=12,
)


def clean(value: Any) -> Any:
    return json.loads(wire.dump_json(value))


def expected(messages: list[Message]) -> list[Message]:
    """Join the messages as ``wire.joined`` should, with simpler code."""
    parts: list[Message] = []
    for message in messages:
        last = parts[-1] if parts else None
        if isinstance(message, str) and isinstance(last, str):
            parts[-1] = last + message
            continue
        if isinstance(message, dict) and isinstance(last, dict):
            text = {"reasoning-delta": "delta", "tool-input-delta": "inputTextDelta"}.get(
                str(message.get("type")), "-"
            )
            plain = len(message) == len(last) == 3 and all(
                isinstance(value, str) for value in message.values()
            )
            if plain and {**message, text: ""} == {**last, text: ""}:
                parts[-1] = {**last, text: last[text] + message[text]}
                continue
        parts.append(message)
    return parts


def stored(messages: list[Message], size: int) -> list[Segment]:
    segments: list[Segment] = []
    for start in range(0, len(messages), size):
        position = segments[-1].end if segments else 0
        part = [m if isinstance(m, str) else wire.dump_object(m) for m in messages[start:][:size]]
        segments += wire.encode_messages(part, position)
    return segments


def value_of(message: str | RawJSON) -> Any:
    return message if isinstance(message, str) else json.loads(message.raw)


@given(messages_lists, st.integers(1, 12))
def test_joined_parts_do_not_depend_on_commits(messages: list[Message], size: int) -> None:
    """G2: the joined parts do not depend on which messages were committed together."""
    cleaned = [clean(message) for message in messages]
    segments = stored(messages, size)
    runs = list(wire.joined(segments))
    assert [value_of(message) for _, message in runs] == expected(cleaned)
    assert [end for end, _ in runs] == sorted({end for end, _ in runs})
    if runs:
        assert runs[-1][0] == segments[-1].end


@given(messages_lists, st.integers(1, 12))
def test_snapshot_has_the_same_parts(messages: list[Message], size: int) -> None:
    """G2: a JSON snapshot, which is written segment by segment, has the same parts as a read."""
    segments = stored(messages, size)
    snapshot = Snapshot.__new__(Snapshot)
    snapshot.__init__(None, Offset(1, 0))  # type: ignore[misc]
    raw = b"".join(snapshot.parts([segment]) for segment in segments) + snapshot.end()
    parts = json.loads(b"[" + raw.removesuffix(b"}"))
    assert parts == [value_of(message) for _, message in wire.joined(segments)]


async def test_one_part_in_every_route() -> None:
    async with PersistentTextStreaming("memory://") as streams:
        stream_id = await streams.create()
        async with streams.write(stream_id) as writer:
            await writer.append({"type": "reasoning-start", "id": "r"})
            for number in range(1000):
                await writer.append(reasoning(f"{number} "))
            await writer.append("The answer.")
        whole = reasoning("".join(f"{number} " for number in range(1000)))
        body = await streams.read(stream_id)
        assert body.parts[1:] == (whole, "The answer.")
        assert [part async for part in streams.follow(stream_id)][1:3] == [whole, "The answer."]
