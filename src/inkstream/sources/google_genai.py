"""Reads the answers of Gemini from Google's Gen AI SDK."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, overload

from inkstream.sources._faults import fault
from inkstream.sources._reading import (
    Asynchronous,
    AsyncPieces,
    Piece,
    Pieces,
    Synchronous,
    pieces,
    value,
)
from inkstream.sources._turn import PartWriter


@overload
def google_genai(chunks: Asynchronous) -> AsyncPieces: ...
@overload
def google_genai(chunks: Synchronous) -> Pieces: ...
def google_genai(chunks: Asynchronous | Synchronous) -> AsyncPieces | Pieces:
    """Yield the answer of a stream of generated content.

    Args:
        chunks: What ``client.aio.models.generate_content_stream(…)`` returns, awaited or not, or
            ``client.models.generate_content_stream(…)``.

    Raises (while iterating):
        StreamError: The provider failed, or broke the answer off (``provider_cut``).
    """
    return pieces(chunks, ContentParser())


class ContentParser:
    """Parse chunks of generated content."""

    def __init__(self) -> None:
        self._turn = PartWriter()
        self._calls = 0
        self._named: set[str] = set()

    def feed(self, event: Any) -> list[Piece]:
        """Return the pieces of a chunk."""
        turn = self._turn
        turn.model = value(event, "model_version", turn.model)
        if value(value(event, "prompt_feedback"), "block_reason") is not None:
            raise fault("content_filter")
        made: list[Piece] = []
        for candidate in value(event, "candidates", ())[:1]:
            for part in value(value(candidate, "content"), "parts", ()):
                made += self._part(part)
            for found in value(value(candidate, "grounding_metadata"), "grounding_chunks", ()):
                made += self._ground(value(found, "web"))
            reason = value(candidate, "finish_reason")
            if reason is not None:
                turn.finish("tool_calls" if self._calls and _is_stop(reason) else reason)
        usage = value(event, "usage_metadata")
        if usage is not None:
            self._count(usage)
            made.append(turn.result())
        return made

    def _part(self, part: Any) -> list[Piece]:
        turn = self._turn
        text = value(part, "text", "")
        if text:
            return turn.reasoning(text) if value(part, "thought", False) else turn.text(text)
        call = value(part, "function_call")
        if call is not None:
            self._calls += 1
            key, name = ("call", self._calls), value(call, "name", "")
            arguments = value(call, "args", {})
            return turn.tool(key, value(call, "id"), name) + turn.end_tool(key, dict(arguments))
        blob = value(part, "inline_data")
        return [*turn.end_reasoning(), _file(blob)] if blob is not None else []

    def _ground(self, web: Any) -> list[Piece]:
        url = value(web, "uri", "")
        if url in self._named:
            return []  # a chunk may repeat the sources of earlier chunks
        self._named.add(url)
        return self._turn.source(url, value(web, "title"))

    def _count(self, usage: Any) -> None:
        self._turn.count(
            input_tokens=value(usage, "prompt_token_count"),
            output_tokens=value(usage, "candidates_token_count"),
            total_tokens=value(usage, "total_token_count"),
            cached_input_tokens=value(usage, "cached_content_token_count"),
            reasoning_tokens=value(usage, "thoughts_token_count"),
        )

    def end(self) -> list[Piece]:
        """Return the last pieces of the message."""
        return self._turn.end()


def _is_stop(reason: Any) -> bool:
    return str(getattr(reason, "name", reason)) == "STOP"


def _file(blob: Any) -> Piece:
    media_type = value(blob, "mime_type", "application/octet-stream")
    data = value(blob, "data", b"")
    encoded = data if isinstance(data, str) else b64encode(data).decode()
    return {"type": "file", "mediaType": media_type, "url": f"data:{media_type};base64,{encoded}"}
