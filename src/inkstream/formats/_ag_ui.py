"""AG-UI events, as ``HttpAgent``, CopilotKit and TanStack AI read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from inkstream import wire
from inkstream._types import End, Status, StreamState
from inkstream.formats._progress import Call, Chunk, PartEncoder, load
from inkstream.http.formats import Format
from inkstream.wire import RawJSON

_FAILED: Final = "The answer could not be completed."

_AS_THEMSELVES: Final[Mapping[str, tuple[str, Mapping[str, type]]]] = {
    "data-agui-state-snapshot": ("STATE_SNAPSHOT", {"snapshot": dict}),
    "data-agui-state-delta": ("STATE_DELTA", {"delta": list}),
    "data-agui-activity-snapshot": (
        "ACTIVITY_SNAPSHOT",
        {"messageId": str, "activityType": str, "content": dict},
    ),
    "data-agui-activity-delta": (
        "ACTIVITY_DELTA",
        {"messageId": str, "activityType": str, "patch": list},
    ),
}
"""The parts that become AG-UI events about state and activities: each event's type and fields."""


class AGUIEncoder(PartEncoder):
    """Encode a stream as the events of one AG-UI run.

    The run id is the stream's id. The thread id is the stream's group, or the stream's id if the
    stream has no group. All text between two other parts is one message. A part for which AG-UI has
    no event becomes a ``CUSTOM`` event with the part's type as its name.
    """

    def __init__(self, stream: StreamState, state: str) -> None:
        super().__init__(state)
        self._run_id = str(stream.stream_id)
        self._run = {"threadId": stream.group or self._run_id, "runId": self._run_id}

    def _name(self, position: int) -> str:
        return f"{self._run_id}.{position}"

    def end(self, end: End) -> Iterator[Chunk]:
        progress = self._progress
        yield from self.started()
        yield from self.close_text()
        yield from self.close_reasoning()
        for name, call in list(progress.calls.items()):
            if call.phase != "c":
                self.has_output(name)
                yield from self.chunk({"type": "TOOL_CALL_END", "toolCallId": name})
        yield from self._close_step()
        progress.phase = "f"
        progress.changed()
        yield from self.chunk(self._last_event(end))

    def _last_event(self, end: End) -> dict[str, Any]:
        if end.status is Status.DONE:
            result = {} if end.result is None else {"result": end.result}
            return {"type": "RUN_FINISHED", **self._run, **result}
        if end.status is Status.CANCELLED:
            return {"type": "RUN_FINISHED", **self._run, "outcome": {"type": "cancelled"}}
        code = {} if end.code is None else {"code": end.code}
        return {"type": "RUN_ERROR", "message": end.message or _FAILED, **code}

    def begin(self) -> Any:
        return {"type": "RUN_STARTED", **self._run}

    def text_start(self, position: int) -> Any:
        name = self._name(position)
        return {"type": "TEXT_MESSAGE_START", "messageId": name, "role": "assistant"}

    def text_delta(self, position: int, text: str) -> bytes:
        return b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"%b.%d","delta":"%b"}' % (
            wire.escape_text(self._run_id.encode()),
            position,
            wire.escape_text(text.encode()),
        )

    def text_end(self, position: int) -> Any:
        return {"type": "TEXT_MESSAGE_END", "messageId": self._name(position)}

    def reasoning(self, part: Any, raw: RawJSON, began: int) -> Any:
        name = self._name(began)
        if part["type"] == "reasoning-start":
            return {"type": "REASONING_MESSAGE_START", "messageId": name, "role": "reasoning"}
        if not part["delta"]:
            return None
        return {"type": "REASONING_MESSAGE_CONTENT", "messageId": name, "delta": part["delta"]}

    def reasoning_end(self, name: str, position: int) -> Any:
        return {"type": "REASONING_MESSAGE_END", "messageId": self._name(position)}

    def opened(self, part: Any, call: Call) -> Iterator[Chunk]:
        yield from self.chunk(
            {
                "type": "TOOL_CALL_START",
                "toolCallId": part["toolCallId"],
                "toolCallName": part["toolName"],
            }
        )

    def abandoned(self, name: str, call: Call) -> Iterator[Chunk]:
        if call.phase != "c":
            yield from self.chunk({"type": "TOOL_CALL_END", "toolCallId": name})

    def tool(self, part: Any, raw: RawJSON, call: Call | None) -> Iterator[Chunk]:
        """Send a tool's input as text, and its output as a result."""
        name, kind = part["toolCallId"], part["type"]
        if kind == "tool-input-delta":
            if part["inputTextDelta"]:
                self.move(call, "a")
                yield from self._arguments(name, part["inputTextDelta"])
        elif kind in ("tool-input-available", "tool-input-error"):
            if call is not None and call.phase == "b":
                self.move(call, "a")
                yield from self._arguments(name, _text_of(part["input"], quoted=True))
            if call is not None and call.phase == "a":
                self.move(call, "c")
                yield from self.chunk({"type": "TOOL_CALL_END", "toolCallId": name})
            if kind == "tool-input-error":
                yield from self._result(name, part["errorText"])
        elif kind == "tool-approval-request":
            yield from self.chunk({"type": "CUSTOM", "name": kind, "value": part})
        elif kind.startswith("tool-output-") and part.get("preliminary") is not True:
            if call is not None and call.phase != "c":
                self.move(call, "c")
                yield from self.chunk({"type": "TOOL_CALL_END", "toolCallId": name})
            if kind == "tool-output-available":
                content = _text_of(part["output"])
            else:
                content = part.get("errorText", "The user did not allow this.")
            yield from self._result(name, content)

    def _arguments(self, name: str, text: str) -> Iterator[Chunk]:
        yield from self.chunk({"type": "TOOL_CALL_ARGS", "toolCallId": name, "delta": text})

    def _result(self, name: str, content: str) -> Iterator[Chunk]:
        self.has_output(name)
        yield from self.chunk(
            {
                "type": "TOOL_CALL_RESULT",
                "messageId": f"{name}.result",
                "toolCallId": name,
                "content": content,
                "role": "tool",
            }
        )

    def put(self, part: Any, raw: RawJSON, position: int) -> Iterator[Chunk]:
        """Send steps, state and activities as events of their own type, the rest as ``CUSTOM``."""
        progress = self._progress
        kind = "data-part" if part is None else part["type"]
        if kind == "start-step":
            if progress.step != position:
                yield from self._close_step()
            progress.step = position
            progress.changed()
            yield from self.chunk({"type": "STEP_STARTED", "stepName": f"step-{position}"})
        elif kind == "finish-step":
            yield from self._close_step()
        elif (event := _stored_event(kind, part)) is not None:
            yield from self.chunk(event)
        else:
            value = load(raw) if part is None else part.get("data", part)
            yield from self.chunk({"type": "CUSTOM", "name": kind, "value": value})

    def _close_step(self) -> Iterator[Chunk]:
        progress = self._progress
        if progress.step is not None:
            position, progress.step = progress.step, None
            progress.changed()
            yield from self.chunk({"type": "STEP_FINISHED", "stepName": f"step-{position}"})


def _text_of(value: Any, *, quoted: bool = False) -> str:
    if isinstance(value, str) and not quoted:
        return value
    return wire.dump_json(value).decode()


def _stored_event(kind: str, part: Any) -> dict[str, Any] | None:
    name, fields = _AS_THEMSELVES.get(kind, ("", {}))
    data = part.get("data") if name else None
    if not isinstance(data, Mapping) or data.keys() != fields.keys():
        return None
    if not all(isinstance(data[field], fields[field]) for field in fields):
        return None
    return {"type": name, **data}


ag_ui: Final = Format(media_type="text/event-stream", encoder=AGUIEncoder)
"""The events of one AG-UI run."""
