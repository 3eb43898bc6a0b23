"""The AI SDK's UI message chunks, which pydantic-ai's adapter and other back ends emit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from inkstream._types import JSON
from inkstream.engine.generation import Result
from inkstream.sources._faults import fault, fault_of_event
from inkstream.sources._reading import Asynchronous, AsyncPieces, Piece, pieces
from inkstream.sources._turn import PartWriter

_LIFECYCLE: Final = frozenset({"start", "text-start", "text-end", "done"})
"""Types of chunks that are not stored: the format ``ai_sdk`` creates these chunks itself."""

_MAY_BE_NONE: Final = frozenset({"input", "output", "data"})
"""Fields in which ``None`` is a value. In other fields, ``None`` says that the field is not set."""


def ui_chunks(chunks: Asynchronous) -> AsyncPieces:
    """Yield an answer that arrives as UI message chunks: text as text, other parts unchanged.

    The text of an ``error`` chunk is not stored, because pydantic-ai puts the exception's text into
    this chunk.

    Args:
        chunks: For example ``VercelAIAdapter(agent=agent, run_input=run_input).run_stream()``;
            pydantic models or mappings.

    Raises (while iterating):
        StreamError: An ``error`` chunk or an ``abort`` chunk arrived, or the ``finish`` chunk is
            missing. After an ``abort`` or without a ``finish``, the code is ``provider_cut``.
    """
    return pieces(chunks, _ChunkParser())


class _ChunkParser:
    def __init__(self) -> None:
        self._turn = PartWriter()
        self._metadata: dict[str, JSON] = {}

    def feed(self, event: Any) -> list[Piece]:
        chunk = _mapping_of(event)
        kind = str(chunk.get("type", "done"))
        if kind == "text-delta":
            return self._turn.text(str(chunk.get("delta", "")))
        if kind == "error":
            raise fault_of_event("error")
        if kind == "abort":
            raise fault("provider_cut")
        if kind == "finish":
            self._turn.finish(chunk.get("finishReason") or "stop")
            return []
        return [] if kind in _LIFECYCLE else [dict(chunk)]

    def end(self) -> list[Piece]:
        if self._turn.finish_reason is None:
            raise fault("provider_cut")
        return [Result({"finish_reason": self._turn.finish_reason, "model": None, "usage": {}})]


def _mapping_of(event: Any) -> Mapping[str, Any]:
    if isinstance(event, Mapping):
        return event
    dump = getattr(event, "model_dump", None)
    made: Mapping[str, Any] = dump(by_alias=True, mode="json") if dump is not None else {}
    return {
        name: entry for name, entry in made.items() if entry is not None or name in _MAY_BE_NONE
    }
