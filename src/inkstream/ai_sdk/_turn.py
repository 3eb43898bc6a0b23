"""The body of a POST from ``useChat``, and the notes that are stored with the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inkstream._arguments import check_names, check_storable
from inkstream._types import JSON, StreamState
from inkstream.formats._ai_sdk import UI_MESSAGE
from inkstream.parts import fold


@dataclass(frozen=True, slots=True)
class Turn:
    """A chat's messages. The last message is a question, or an answer to continue.

    Attributes:
        chat_id: The chat's id.
        messages: The chat's messages, or only the last message.
        whole: Whether ``messages`` contains all messages of the chat.
    """

    chat_id: str
    messages: Sequence[Mapping[str, Any]]
    whole: bool

    @property
    def last(self) -> Mapping[str, Any]:
        return self.messages[-1]

    @property
    def goes_on(self) -> bool:
        """Whether the last message is an answer, which a new stream may continue."""
        return bool(self.last["role"] == "assistant")

    @property
    def after(self) -> str | None:
        """The id of the last answer before the question."""
        answers = [m["id"] for m in self.messages[:-1] if m["role"] == "assistant"]
        return answers[-1] if answers else None


def parse(body: object) -> Turn:
    """Parse the body of a request.

    Raises:
        ValueError: The body is not a body of ``useChat``.
    """
    if not isinstance(body, Mapping) or not isinstance(body.get("id"), str) or not body["id"]:
        raise ValueError("the body must be a JSON object with the chat's id")
    check_names(id=body["id"])
    check_storable(id=body["id"])
    whole = "messages" in body
    messages = body["messages"] if whole else [body.get("message")]
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages must be a list with at least one message")
    for message in messages:
        if (
            not isinstance(message, Mapping)
            or not isinstance(message.get("id"), str)
            or not isinstance(message.get("role"), str)
            or not isinstance(message.get("parts"), list)
        ):
            raise ValueError("a message must be an object with id, role and parts")
    return Turn(body["id"], messages, whole)


def question_of(message: Mapping[str, Any]) -> dict[str, JSON]:
    """Return a user's message in the form to store, without files whose data is in the message."""
    kept: dict[str, JSON] = {
        name: message[name] for name in ("id", "role", "metadata") if name in message
    }
    kept["parts"] = [
        part
        for part in message["parts"]
        if isinstance(part, Mapping) and not str(part.get("url", "")).startswith("data:")
    ]
    return kept


def note_of(state: StreamState) -> Mapping[str, Any]:
    """Return the note that is stored with a stream.

    ``question`` is the user's question, and ``after`` is the id of the answer before the question.
    If the stream continues an answer, ``id`` is the id of this answer, and ``since`` is the number
    of the stream's messages that the page has already.
    """
    note = state.metadata.get(UI_MESSAGE)
    return note if isinstance(note, Mapping) else {}


def message_id_of(state: StreamState) -> str:
    """Return the id of the message that a stream contains."""
    return str(note_of(state).get("id", state.stream_id))


def outputs(
    parts: Sequence[str | Mapping[str, JSON]], message: Mapping[str, Any]
) -> list[Mapping[str, JSON]]:
    """Return the tool outputs that the page's ``message`` has and the stored ``parts`` lack."""
    waiting = {
        part["toolCallId"]
        for part in fold(parts)["parts"]
        if part.get("state") in ("input-available", "approval-requested")
    }
    found: list[Mapping[str, JSON]] = []
    for part in message["parts"]:
        name = part.get("toolCallId") if isinstance(part, Mapping) else None
        if not isinstance(name, str) or name not in waiting:
            continue
        if part.get("state") == "output-available":
            output = part.get("output")
            found.append({"type": "tool-output-available", "toolCallId": name, "output": output})
        elif part.get("state") == "output-error":
            text = str(part.get("errorText", ""))
            found.append({"type": "tool-output-error", "toolCallId": name, "errorText": text})
        else:
            continue
        waiting.remove(name)
    return found


def is_approved(message: Mapping[str, Any]) -> bool:
    """Return whether ``message`` contains the user's decision about a tool call."""
    return any(
        isinstance(part, Mapping) and part.get("state") == "approval-responded"
        for part in message["parts"]
    )
