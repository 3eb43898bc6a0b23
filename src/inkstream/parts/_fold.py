"""Combines the stored parts of an answer into the message that a page shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NotRequired, TypedDict

from inkstream._types import JSON
from inkstream.parts._shapes import as_known

Shown = dict[str, Any]

_CALL: Final = {"providerExecuted": "providerExecuted", "toolMetadata": "toolMetadata"}
_INPUT: Final = {**_CALL, "title": "title", "providerMetadata": "callProviderMetadata"}
_OUTPUT: Final = {**_CALL, "providerMetadata": "resultProviderMetadata"}
_APPROVAL: Final = {
    "approvalDescriptor": "descriptor",
    "inputSchemaInput": "inputSchemaInput",
    "signature": "signature",
}
_UNSAFE_KEYS: Final = frozenset({"__proto__", "constructor", "prototype"})


class UIMessage(TypedDict):
    """A message as a page shows it: an AI SDK ``UIMessage`` without an id."""

    parts: list[dict[str, Any]]
    metadata: NotRequired[dict[str, Any]]


def fold(parts: Iterable[str | Mapping[str, JSON]], *, ended: bool = False) -> UIMessage:
    """Combine the stored parts of an answer into a message, as ``fold`` in the npm package does.

    The message has one part for each tool call, source, file, step, ``data-…`` part and piece of
    reasoning, and one part for all text between two other parts. A later ``data-…`` part with the
    same type and id only replaces the data of the earlier part. A ``data-…`` part that is
    ``transient`` is left out. A part of type ``text`` or ``reasoning`` has a ``state``:
    ``streaming`` or ``done``. A stored part is ignored if it continues reasoning or a tool call
    that has not begun or has ended. An object that is not a known part becomes a part of type
    ``data-part``.

    Args:
        parts: ``StreamBody.parts``, or the messages that a follower received.
        ended: True if the stream has ended. Then no text and no reasoning is ``streaming``.
    """
    folding = _Folding()
    for part in parts:
        folding.add(part)
    return folding.message(ended)


class _Folding:
    def __init__(self) -> None:
        self._parts: list[Shown] = []
        self._metadata: dict[str, Any] | None = None
        self._text: Shown | None = None
        self._reasoning: dict[str, Shown] = {}
        self._calls: dict[str, Shown] = {}
        self._outstanding: set[str] = set()
        self._data: dict[tuple[str, str], Shown] = {}
        self._pieces: dict[int, tuple[Shown, str, list[str]]] = {}

    def message(self, ended: bool) -> UIMessage:
        for shown, name, texts in self._pieces.values():
            shown[name] = "".join(texts)
        if ended:
            self._end_text()
            self._end_reasoning()
        message: UIMessage = {"parts": self._parts}
        if self._metadata is not None:
            message["metadata"] = self._metadata
        return message

    def add(self, part: str | Mapping[str, Any]) -> None:
        if isinstance(part, str):
            if part and self._text is None:
                self._text = self._show({"type": "text", "text": "", "state": "streaming"})
            if self._text is not None:
                self._write(self._text, "text", part)
            return
        self._end_text()
        # A client of Durable Streams may have written any JSON value to a log.
        known: Any = as_known(part) if isinstance(part, Mapping) else None
        if known is None:
            self._show({"type": "data-part", "data": part})
            return
        kind: str = known["type"]
        if kind.startswith("reasoning-"):
            self._add_reasoning(kind, known)
        elif kind.startswith("tool-input-"):
            self._add_input(kind, known)
        elif kind.startswith("tool-"):
            self._add_output(kind, known)
        elif kind == "message-metadata":
            self._metadata = _merged(self._metadata or {}, known["messageMetadata"])
        elif kind == "start-step":
            self._show({"type": "step-start"})
        elif kind == "finish-step":
            self._end_reasoning()
        elif kind.startswith("data-"):
            self._add_data(known)
        else:
            self._show(_only(known, _SOURCE_FIELDS[kind]))

    def _show(self, shown: Shown) -> Shown:
        self._parts.append(shown)
        return shown

    def _write(self, shown: Shown, name: str, text: str) -> None:
        # ``message`` joins the pieces. Adding each piece to a string would take quadratic time.
        self._pieces.setdefault(id(shown), (shown, name, []))[2].append(text)

    def _end_text(self) -> None:
        if self._text is not None:
            self._text["state"] = "done"
            self._text = None

    def _end_reasoning(self) -> None:
        for shown in self._reasoning.values():
            shown["state"] = "done"
        self._reasoning.clear()

    def _add_reasoning(self, kind: str, part: Mapping[str, Any]) -> None:
        shown = self._reasoning.get(part["id"])
        if kind == "reasoning-start":
            if shown is not None:
                shown["state"] = "done"
            shown = self._reasoning[part["id"]] = self._show(
                {"type": "reasoning", "id": part["id"], "text": "", "state": "streaming"}
            )
        if shown is None:
            return
        if "providerMetadata" in part:
            shown["providerMetadata"] = part["providerMetadata"]
        if kind == "reasoning-delta":
            self._write(shown, "text", part["delta"])
        elif kind == "reasoning-end":
            shown["state"] = "done"
            del self._reasoning[part["id"]]

    def _add_input(self, kind: str, part: Mapping[str, Any]) -> None:
        call = self._calls.get(part["toolCallId"])
        if kind == "tool-input-delta":
            if call is not None and call["state"] == "input-streaming":
                self._write(call, "rawInput", part["inputTextDelta"])
            return
        if call is None:
            call = self._show({"type": "", "toolCallId": part["toolCallId"]})
            self._calls[part["toolCallId"]] = call
        self._outstanding.add(part["toolCallId"])
        self._pieces.pop(id(call), None)
        for name in ("rawInput", "output", "errorText", "preliminary", "approval", "inputEncoding"):
            call.pop(name, None)
        call.pop("toolName", None)
        if part.get("dynamic") is True:
            call["type"], call["toolName"] = "dynamic-tool", part["toolName"]
        else:
            call["type"] = f"tool-{part['toolName']}"
        call.update(_renamed(part, _INPUT))
        call.pop("input", None)
        if kind == "tool-input-start":
            call["state"] = "input-streaming"
            call.update(_only(part, ("inputEncoding",)))
            return
        call["input"] = part["input"]
        call["state"] = "input-available" if kind == "tool-input-available" else "output-error"
        call.update(_only(part, ("errorText",)))

    def _add_output(self, kind: str, part: Mapping[str, Any]) -> None:
        call = self._calls.get(part["toolCallId"])
        if call is None or part["toolCallId"] not in self._outstanding:
            return
        self._pieces.pop(id(call), None)
        if kind == "tool-approval-request":
            call["state"] = "approval-requested"
            call["approval"] = {"id": part["approvalId"], **_renamed(part, _APPROVAL)}
            return
        for name in ("output", "errorText", "preliminary"):
            call.pop(name, None)
        call.update(_renamed(part, _OUTPUT))
        call["state"] = {
            "tool-output-available": "output-available",
            "tool-output-error": "output-error",
            "tool-output-denied": "output-denied",
        }[kind]
        call.update(_only(part, ("output", "errorText")))
        if part.get("preliminary") is True:
            call["preliminary"] = True
        else:
            self._outstanding.discard(part["toolCallId"])

    def _add_data(self, part: Mapping[str, Any]) -> None:
        if part.get("transient") is True:
            return
        name = part.get("id")
        before = self._data.get((part["type"], name)) if name is not None else None
        if before is not None:
            before["data"] = part["data"]
            return
        shown = self._show(_only(part, ("type", "id", "data")))
        if name is not None:
            self._data[part["type"], name] = shown


_SOURCE_FIELDS: Final = {
    "source-url": ("type", "sourceId", "url", "title", "providerMetadata"),
    "source-document": (
        "type",
        "sourceId",
        "mediaType",
        "title",
        "filename",
        "providerMetadata",
    ),
    "file": ("type", "mediaType", "url", "providerMetadata"),
}


def _only(part: Mapping[str, Any], names: Iterable[str]) -> Shown:
    return {name: part[name] for name in names if name in part}


def _renamed(part: Mapping[str, Any], names: Mapping[str, str]) -> Shown:
    return {new: part[name] for name, new in names.items() if name in part}


def _merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the keys of ``more``.

    If both have an object under the same key, these two objects are merged in the same way.
    Keys of ``more`` that are dangerous in JavaScript are left out.
    """
    merged = dict(base)
    for key, value in more.items():
        if key in _UNSAFE_KEYS:
            continue
        before = merged.get(key)
        if isinstance(value, Mapping):
            value = _merged(before if isinstance(before, Mapping) else {}, value)
        merged[key] = value
    return merged
