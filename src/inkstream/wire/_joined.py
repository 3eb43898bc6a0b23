"""Joins adjacent messages, so that readers get fewer messages than the store has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from inkstream._types import Segment
from inkstream.parts import Delta, delta_of, join_delta
from inkstream.wire._messages import RawJSON, dump_json
from inkstream.wire._segments import is_all_text, readable_messages


def joined(segments: Iterable[Segment]) -> Iterator[tuple[int, str | RawJSON]]:
    """Yield the messages of a JSON stream's segments, each with the position after the message.

    Adjacent pieces of text are joined. A delta is a JSON message with a piece of reasoning, or of a
    tool call's input. Adjacent deltas of one reasoning, or of one tool call, are joined too.
    Otherwise a provider's thousand deltas would become a thousand parts.
    """
    run: _Run | None = None
    for segment in segments:
        position = segment.position
        if is_all_text(segment):
            messages: Iterable[str | RawJSON] = (segment.payload.decode(),)
            step = segment.count
        else:
            messages, step = readable_messages((segment,)), 1
        for message in messages:
            delta = None if isinstance(message, str) else delta_of(message.raw)
            text = message if delta is None else delta.text
            if run is not None and not (isinstance(text, str) and run.takes(delta)):
                yield run.end, run.message()
                run = None
            position += step
            if not isinstance(text, str):
                yield position, text
            elif run is None:
                run = _Run(message, delta, position, text)
            else:
                run.texts.append(text)
                run.end = position
    if run is not None:
        yield run.end, run.message()


class _Run:
    """Adjacent messages that ``joined`` combines into one message."""

    __slots__ = ("_delta", "_first", "end", "texts")

    def __init__(self, first: str | RawJSON, delta: Delta | None, end: int, text: str) -> None:
        self._first = first
        self._delta = delta
        self.end = end
        self.texts = [text]

    def takes(self, delta: Delta | None) -> bool:
        mine = self._delta
        if delta is None or mine is None:
            return delta is mine
        return delta[:2] == mine[:2]

    def message(self) -> str | RawJSON:
        if len(self.texts) == 1:
            return self._first
        if self._delta is None:
            return "".join(self.texts)
        return RawJSON(dump_json(join_delta(self._delta, self.texts)))
