"""Deltas of one reasoning or of one tool's input, which are joined wherever a stream is read."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

_FIELDS: Final = {
    "reasoning-delta": ("id", "delta"),
    "tool-input-delta": ("toolCallId", "inputTextDelta"),
}


class Delta(NamedTuple):
    """A piece of text that belongs to a part: of which type, with which id."""

    type: str
    id: str
    text: str


def delta_of(raw: bytes) -> Delta | None:
    """Return the delta that a JSON message is, or ``None``; one with further keys stands alone."""
    if b'-delta"' not in raw:  # spares parsing what cannot be one
        return None
    value = json.loads(raw)
    if not isinstance(value, dict) or len(value) != 3 or not isinstance(value.get("type"), str):
        return None
    name, text = _FIELDS.get(value["type"], ("", ""))
    if not isinstance(value.get(name), str) or not isinstance(value.get(text), str):
        return None
    return Delta(value["type"], value[name], value[text])


def join_delta(delta: Delta, texts: list[str]) -> dict[str, str]:
    """Return one part that says what several deltas of a part said."""
    name, text = _FIELDS[delta.type]
    return {"type": delta.type, name: delta.id, text: "".join(texts)}
