"""Deltas of one reasoning or of one tool input. Readers join adjacent deltas."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

_FIELDS: Final = {
    "reasoning-delta": ("id", "delta"),
    "tool-input-delta": ("toolCallId", "inputTextDelta"),
}


class Delta(NamedTuple):
    """A piece of text of one part, with the part's type and id."""

    type: str
    id: str
    text: str


def delta_of(raw: bytes) -> Delta | None:
    """Return a JSON message as a delta, or ``None`` if it is none or has more keys than a delta."""
    if b'-delta"' not in raw:  # saves parsing other messages
        return None
    value = json.loads(raw)
    if not isinstance(value, dict) or len(value) != 3 or not isinstance(value.get("type"), str):
        return None
    name, text = _FIELDS.get(value["type"], ("", ""))
    if not isinstance(value.get(name), str) or not isinstance(value.get(text), str):
        return None
    return Delta(value["type"], value[name], value[text])


def join_delta(delta: Delta, texts: list[str]) -> dict[str, str]:
    """Return one part with the joined text of several deltas."""
    name, text = _FIELDS[delta.type]
    return {"type": delta.type, name: delta.id, text: "".join(texts)}
