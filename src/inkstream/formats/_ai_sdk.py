"""The AI SDK's UI message stream, as ``useChat`` of versions 6 and 7 reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from inkstream import wire
from inkstream._types import End, Status, StreamState
from inkstream.formats._progress import Call, Chunk, PartEncoder, load
from inkstream.http.formats import Format
from inkstream.parts import is_safe_link
from inkstream.wire import RawJSON

UI_MESSAGE: Final = "inkstream.ui_message"
"""The key of a note in a stream's metadata.

If the stream continues a message, the note's ``id`` is the id of this message.
"""

_FAILED: Final = "The answer could not be completed."
_REASONS: Final = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "content-filter": "content-filter",
    "content_filter": "content-filter",
    "tool-calls": "tool-calls",
    "tool_calls": "tool-calls",
    "tool_use": "tool-calls",
    "error": "error",
}


class AISDKEncoder(PartEncoder):
    """Encode a stream as UI message chunks.

    If a client receives a chunk of an unknown type, the whole answer fails. So the encoder sends
    only types that the client's version knows. An object of another type becomes a ``data-part``.

    Args:
        stream: The stream. Its id is the message's id, unless the stream continues another message.
        state: See ``Encoder``.
        version: The oldest major version of ``ai`` that must understand the answer.
        since: Send only messages after this position, to a client that has the earlier messages.
    """

    def __init__(
        self, stream: StreamState, state: str, *, version: int = 6, since: int = 0
    ) -> None:
        super().__init__(state)
        note = stream.metadata.get(UI_MESSAGE)
        named = note.get("id") if isinstance(note, Mapping) else None
        self._message_id = named if isinstance(named, str) else str(stream.stream_id)
        self._version = version
        self._since = since

    def feed(self, message: str | RawJSON, position: int) -> Iterable[Chunk]:
        if position >= self._since:
            return super().feed(message, position)
        self._progress.phase = "s"
        super().feed(message, position)
        self._progress.phase = ""
        self._progress.changed()
        return ()

    def end(self, end: End) -> Iterator[Chunk]:
        progress = self._progress
        if progress.phase != "f":
            yield from self.started()
            yield from self.close_text()
            yield from self.close_reasoning()
            progress.phase = "f"
            progress.changed()
            yield from self.chunk(_last_chunk(end))
        yield b"[DONE]", progress.state

    def begin(self) -> Any:
        return {"type": "start", "messageId": self._message_id}

    def text_start(self, position: int) -> Any:
        return {"type": "text-start", "id": f"t{position}"}

    def text_delta(self, position: int, text: str) -> bytes:
        return b'{"type":"text-delta","id":"t%d","delta":"%b"}' % (
            position,
            wire.escape_text(text.encode()),
        )

    def text_end(self, position: int) -> Any:
        return {"type": "text-end", "id": f"t{position}"}

    def reasoning_end(self, name: str, position: int) -> Any:
        return {"type": "reasoning-end", "id": name}

    def reasoning(self, part: Any, raw: RawJSON, began: int) -> bytes:
        return raw.raw

    def tool(self, part: Any, raw: RawJSON, call: Call | None) -> Iterator[Chunk]:
        kind = part["type"]
        if kind in ("tool-input-available", "tool-input-error"):
            self.move(call, "c")
        elif kind == "tool-input-delta":
            self.move(call, "a")
        elif kind.startswith("tool-output-"):
            if part.get("preliminary") is True:
                self.move(call, "c")
            else:
                self.has_output(part["toolCallId"])
        yield from self.chunk(raw.raw)

    def put(self, part: Any, raw: RawJSON, position: int) -> Iterator[Chunk]:
        """Send a part that the client's version knows unchanged, and the rest as ``data-part``."""
        if part is None:
            value = load(raw)
            if self._version < 7 or not _is_of_version_7(value):
                yield from self.chunk({"type": "data-part", "data": value})
                return
        yield from self.chunk(raw.raw)


def _is_of_version_7(part: Mapping[str, Any]) -> bool:
    """Return whether a part is valid and has a type that version 7 knows and version 6 does not."""
    if part.get("type") == "custom":
        return isinstance(part.get("kind"), str) and part.keys() <= {"type", "kind"}
    return (
        part.get("type") == "reasoning-file"
        and part.keys() == {"type", "url", "mediaType"}
        and isinstance(part["mediaType"], str)
        and isinstance(part["url"], str)
        and is_safe_link("file", part["url"])
    )


def _last_chunk(end: End) -> dict[str, Any]:
    if end.status is Status.CANCELLED:
        return {"type": "abort"}
    if end.status is not Status.DONE:
        return {"type": "error", "errorText": end.message or _FAILED}
    reason = end.result.get("finish_reason") if isinstance(end.result, Mapping) else None
    if not isinstance(reason, str):
        return {"type": "finish"}
    return {"type": "finish", "finishReason": _REASONS.get(reason, "other")}


def ai_sdk_from(position: int) -> Format:
    """Return ``ai_sdk`` for a client that already has the message up to ``position``."""
    return Format(
        media_type="text/event-stream",
        encoder=partial(AISDKEncoder, since=position),
        headers=_HEADERS,
    )


_HEADERS: Final = {"x-vercel-ai-ui-message-stream": "v1"}

ai_sdk: Final = ai_sdk_from(0)
"""UI message stream for ``ai`` 6 and later."""

ai_sdk_7: Final = Format(
    media_type="text/event-stream",
    encoder=partial(AISDKEncoder, version=7),
    headers=_HEADERS,
)
"""UI message stream for ``ai`` 7 and later, with ``custom`` and ``reasoning-file`` unchanged."""
