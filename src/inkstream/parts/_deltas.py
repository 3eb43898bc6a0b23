"""Deltas: pieces of one reasoning or of one tool input. Adjacent deltas are joined."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

_FIELDS: Final = {
    "reasoning-delta": ("id", "delta"),
    "tool-input-delta": ("toolCallId", "inputTextDelta"),
}


class Delta(NamedTuple):
    """A piece of the text of one part, with the type and id of that part."""

    type: str
    id: str
    text: str


def delta_of(raw: bytes) -> Delta | None:
    """Return a JSON message as a delta; ``None`` if it is no delta or has additional keys."""
    if b'-delta"' not in raw:  # so that other messages need not be parsed
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
