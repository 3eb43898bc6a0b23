"""Models of two clients. A model fails on chunks that the real client does not accept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_V6 = {
    "text-start": ("id",),
    "text-delta": ("id", "delta"),
    "text-end": ("id",),
    "error": ("errorText",),
    "tool-input-start": ("toolCallId", "toolName"),
    "tool-input-delta": ("toolCallId", "inputTextDelta"),
    "tool-input-available": ("toolCallId", "toolName"),
    "tool-input-error": ("toolCallId", "toolName", "errorText"),
    "tool-approval-request": ("approvalId", "toolCallId"),
    "tool-output-available": ("toolCallId",),
    "tool-output-error": ("toolCallId", "errorText"),
    "tool-output-denied": ("toolCallId",),
    "reasoning-start": ("id",),
    "reasoning-delta": ("id", "delta"),
    "reasoning-end": ("id",),
    "source-url": ("sourceId", "url"),
    "source-document": ("sourceId", "mediaType", "title"),
    "file": ("url", "mediaType"),
    "start-step": (),
    "finish-step": (),
    "start": (),
    "finish": (),
    "abort": (),
    "message-metadata": (),
}


class AISDK:
    """Builds a message from chunks, as version 6 of the npm package ``ai`` does."""

    def __init__(self) -> None:
        self.parts: list[dict[str, Any]] = []
        self.metadata: dict[str, Any] | None = None
        self.id: str | None = None
        self.last: dict[str, Any] | None = None
        self._text: dict[str, dict[str, Any]] = {}
        self._reasoning: dict[str, dict[str, Any]] = {}
        self._inputs: dict[str, str] = {}

    def _find(self, call: str) -> dict[str, Any]:
        return next(p for p in reversed(self.parts) if p.get("toolCallId") == call)

    def take(self, chunks: Iterable[Any]) -> AISDK:
        for chunk in chunks:
            if chunk == "[DONE]":
                continue
            kind = chunk["type"]
            assert kind.startswith("data-") or kind in _V6, f"{kind} fails the whole answer"
            for name in _V6.get(kind, ()):
                assert isinstance(chunk[name], str)
            self._take(kind, chunk)
        return self

    def _take(self, kind: str, chunk: Any) -> None:
        if kind == "start":
            assert self.id is None, "the message begins twice"
            self.id = chunk["messageId"]
        elif kind in ("finish", "error", "abort"):
            assert self.last is None, "the message ends twice"
            self.last = chunk
        elif kind == "text-start":
            assert chunk["id"] not in self._text
            self._text[chunk["id"]] = part = {"type": "text", "text": "", "state": "streaming"}
            self.parts.append(part)
        elif kind == "text-delta":
            self._text[chunk["id"]]["text"] += chunk["delta"]
        elif kind == "text-end":
            self._text.pop(chunk["id"])["state"] = "done"
        elif kind == "reasoning-start":
            part = {"type": "reasoning", "id": chunk["id"], "text": "", "state": "streaming"}
            self._reasoning[chunk["id"]] = part
            self.parts.append(part)
        elif kind == "reasoning-delta":
            self._reasoning[chunk["id"]]["text"] += chunk["delta"]
        elif kind == "reasoning-end":
            self._reasoning.pop(chunk["id"])["state"] = "done"
        elif kind.startswith("tool-"):
            self._take_tool(kind, chunk)
        elif kind == "message-metadata":
            self.metadata = {**(self.metadata or {}), **chunk["messageMetadata"]}
        elif kind == "start-step":
            self.parts.append({"type": "step-start"})
        elif kind == "finish-step":
            assert not self._reasoning, "version 6 forgets open reasoning at the end of a step"
        elif kind.startswith("data-"):
            if chunk.get("transient"):
                return
            for part in self.parts:
                if "id" in chunk and part["type"] == kind and part.get("id") == chunk["id"]:
                    part["data"] = chunk["data"]
                    return
            self.parts.append(chunk)
        else:
            self.parts.append(chunk)

    def _take_tool(self, kind: str, chunk: Any) -> None:
        name = chunk["toolCallId"]
        if kind == "tool-input-start":
            self._inputs[name] = ""
            self._put(name, chunk, state="input-streaming")
        elif kind == "tool-input-delta":
            self._inputs[name] += chunk["inputTextDelta"]
            self._find(name)["rawInput"] = self._inputs[name]
        elif kind == "tool-input-available":
            self._put(name, chunk, state="input-available", input=chunk["input"])
        elif kind == "tool-input-error":
            self._put(
                name,
                chunk,
                state="output-error",
                input=chunk["input"],
                errorText=chunk["errorText"],
            )
        elif kind == "tool-approval-request":
            part = self._find(name)
            part.pop("rawInput", None)
            part.update(state="approval-requested", approval={"id": chunk["approvalId"]})
        else:
            part = self._find(name)
            for key in ("rawInput", "output", "errorText", "preliminary"):
                part.pop(key, None)
            for key in ("output", "errorText", "preliminary"):
                if key in chunk:
                    part[key] = chunk[key]
            part["state"] = kind.removeprefix("tool-")

    def _put(self, name: str, chunk: Any, **fields: Any) -> None:
        found = [p for p in self.parts if p.get("toolCallId") == name]
        part = found[-1] if found else {"toolCallId": name}
        for key in ("rawInput", "input", "output", "errorText", "preliminary", "approval"):
            part.pop(key, None)
        part.update(type=f"tool-{chunk['toolName']}", **fields)
        if "providerExecuted" in chunk:
            part["providerExecuted"] = chunk["providerExecuted"]
        if not found:
            self.parts.append(part)


class AGUI:
    """Checks the order of events as ``verifyEvents`` of ``@ag-ui/client`` does. Keeps the text."""

    def __init__(self) -> None:
        self.open: dict[str, set[str]] = {"text": set(), "reasoning": set(), "tool": set()}
        self.steps: set[str] = set()
        self.messages: dict[str, str] = {}
        self.last: dict[str, Any] | None = None
        self.begun = False

    def take(self, events: Iterable[Any]) -> AGUI:
        for event in events:
            self._take(event["type"], event)
        return self

    def _take(self, kind: str, event: Any) -> None:
        assert self.last is None, "an event follows the end of the run"
        assert self.begun == (kind != "RUN_STARTED"), "RUN_STARTED must come first, and only once"
        if kind == "RUN_STARTED":
            self.begun = True
        elif kind in ("RUN_FINISHED", "RUN_ERROR"):
            assert not self.steps
            assert not any(self.open.values()), self.open
            self.last = event
        elif kind.startswith("STEP_"):
            assert (event["stepName"] in self.steps) == (kind == "STEP_FINISHED")
            self.steps ^= {event["stepName"]}
        elif kind == "TOOL_CALL_RESULT":
            assert isinstance(event["content"], str)
        elif kind.startswith(("TEXT_", "REASONING_", "TOOL_CALL_")):
            group = {"T": "text", "R": "reasoning"}.get(kind[0], "") or ""
            group = "tool" if kind.startswith("TOOL") else group
            name = event["toolCallId" if group == "tool" else "messageId"]
            if kind.endswith("_START"):
                assert name not in self.open[group]
                assert group == "tool" or name not in self.messages
                self.open[group].add(name)
                self.messages[name] = ""
            elif kind.endswith("_END"):
                self.open[group].remove(name)
            else:
                assert name in self.open[group], event
                assert event["delta"]
                self.messages[name] += event["delta"]
        else:
            assert kind in (
                "CUSTOM",
                "STATE_SNAPSHOT",
                "STATE_DELTA",
                "ACTIVITY_SNAPSHOT",
                "ACTIVITY_DELTA",
            )
