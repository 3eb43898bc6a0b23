"""Deltas: the pieces in which reasoning, or the input of a tool call, arrives."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

_FIELDS: Final = {
    "reasoning-delta": ("id", "delta"),
    "tool-input-delta": ("toolCallId", "inputTextDelta"),
}


class Delta(NamedTuple):
    """A piece of reasoning, or of a tool call's input.

    Attributes:
        type: The ``type`` of the delta's JSON object.
        id: The id of the reasoning or of the tool call.
        text: The text of the piece.
    """

    type: str
    id: str
    text: str


def delta_of(raw: bytes) -> Delta | None:
    """Return a JSON message as a delta; ``None`` if the message is no delta or has further keys."""
    if b'-delta"' not in raw:  # this test is much cheaper than to parse every message
        return None
    value = json.loads(raw)
    if not isinstance(value, dict) or len(value) != 3 or not isinstance(value.get("type"), str):
        return None
    name, text = _FIELDS.get(value["type"], ("", ""))
    if not isinstance(value.get(name), str) or not isinstance(value.get(text), str):
        return None
    return Delta(value["type"], value[name], value[text])


def join_delta(delta: Delta, texts: list[str]) -> dict[str, str]:
    """Return the JSON object that replaces several deltas: ``delta`` with the text of ``texts``."""
    name, text = _FIELDS[delta.type]
    return {"type": delta.type, name: delta.id, text: "".join(texts)}
