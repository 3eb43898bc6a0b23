"""Tests of sources with recorded events, without an SDK."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from inkstream import PersistentTextStreaming, Result, StreamError
from inkstream.sources import (
    anthropic,
    google_genai,
    langchain,
    openai_chat,
    openai_responses,
    pydantic_ai,
    ui_chunks,
)

SECRET = "sk-secret-detail"
Source = Callable[[Any], AsyncIterator[Any]]


class Events:
    """Yields events one by one, and records whether it was closed."""

    def __init__(self, events: list[Any]) -> None:
        self.events = iter(events)
        self.closed = False

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Any:
        try:
            event = next(self.events)
        except StopIteration:
            raise StopAsyncIteration from None
        if isinstance(event, Exception):
            raise event
        return event

    async def close(self) -> None:
        self.closed = True


def chat(**delta: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "delta": delta}]}


def call(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    return chat(tool_calls=[{"index": index, "function": function, **more}])


CHAT = [
    chat(role="assistant", content=""),
    chat(reasoning_content="Let me "),
    chat(reasoning_content="see."),
    chat(content="The sky "),
    chat(content="is blue."),
    call(0, "", id="call-a", name="search"),
    call(0, '{"q": '),
    call(1, "{}", id="call-b", name="clock"),
    call(0, '"sky"}'),
    {"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    {
        "model": "m",
        "choices": [],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 5,
            "total_tokens": 8,
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    },
]
CHAT_RESULT: dict[str, Any] = {
    "finish_reason": "tool-calls",
    "model": "m",
    "usage": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8, "reasoning_tokens": 2},
}

RESPONSES: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"model": "m"}},
    {"type": "response.output_item.added", "item": {"type": "reasoning", "id": "rs"}},
    {
        "type": "response.reasoning_summary_text.delta",
        "item_id": "rs",
        "summary_index": 0,
        "delta": "Let me see.",
    },
    {"type": "response.output_item.done", "item": {"type": "reasoning", "id": "rs"}},
    {"type": "response.output_text.delta", "delta": "The sky is blue."},
    {
        "type": "response.output_text.annotation.added",
        "annotation": {"type": "url_citation", "url": "https://sky.example", "title": "Sky"},
    },
    {
        "type": "response.output_item.added",
        "item": {"type": "function_call", "id": "fc", "call_id": "call-a", "name": "search"},
    },
    {"type": "response.function_call_arguments.delta", "item_id": "fc", "delta": '{"q": "sky"}'},
    {
        "type": "response.output_item.done",
        "item": {
            "type": "function_call",
            "id": "fc",
            "call_id": "call-a",
            "arguments": '{"q": "sky"}',
        },
    },
    {
        "type": "response.completed",
        "response": {"model": "m", "usage": {"input_tokens": 3, "output_tokens": 5}},
    },
]

MESSAGES: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 3}}},
    {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "thinking", "thinking": ""},
    },
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "thinking_delta", "thinking": "Let me see."},
    },
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {
        "type": "content_block_delta",
        "index": 1,
        "delta": {"type": "text_delta", "text": "The sky is blue."},
    },
    {"type": "text", "text": "The sky is blue.", "snapshot": "derived by the SDK"},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "call-a", "name": "search", "input": {}},
    },
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": '{"q": "sky"}'},
    },
    {"type": "content_block_stop", "index": 2},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use"},
        "usage": {"output_tokens": 5},
    },
    {"type": "message_stop"},
]


def content(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"model_version": "m", "candidates": [{"content": {"parts": list(parts)}, **more}]}


CONTENT = [
    content({"text": "Let me see.", "thought": True}),
    content({"text": "The sky "}),
    content({"text": "is blue."}),
    content({"function_call": {"id": "call-a", "name": "search", "args": {"q": "sky"}}}),
    content(finish_reason="STOP")
    | {"usage_metadata": {"prompt_token_count": 3, "candidates_token_count": 5}},
]

RUN = [
    {"event_kind": "part_start", "index": 0, "part": {"part_kind": "thinking", "content": "Let "}},
    {
        "event_kind": "part_delta",
        "index": 0,
        "delta": {"part_delta_kind": "thinking", "content_delta": "me see."},
    },
    {"event_kind": "part_end", "index": 0, "part": {"part_kind": "thinking"}},
    {"event_kind": "part_start", "index": 1, "part": {"part_kind": "text", "content": "The sky "}},
    {
        "event_kind": "part_delta",
        "index": 1,
        "delta": {"part_delta_kind": "text", "content_delta": "is blue."},
    },
    {
        "event_kind": "part_start",
        "index": 2,
        "part": {"part_kind": "tool-call", "tool_name": "search", "tool_call_id": "call-a"},
    },
    {
        "event_kind": "part_end",
        "index": 2,
        "part": {"part_kind": "tool-call", "tool_call_id": "call-a", "args": {"q": "sky"}},
    },
    {
        "event_kind": "function_tool_call",
        "part": {"tool_call_id": "call-a", "tool_name": "search", "args": {"q": "sky"}},
    },
    {
        "event_kind": "agent_run_result",
        "result": {
            "response": {"model_name": "m", "finish_reason": "tool_call"},
            "usage": {"input_tokens": 3, "output_tokens": 5},
        },
    },
]


def ai(text: Any, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    message = {"type": "AIMessageChunk", "id": "run-1", "content": text, "tool_call_chunks": []}
    return message | more, {"langgraph_node": "model"}


GRAPH = [
    ai([{"type": "thinking", "thinking": "Let me see."}]),
    ai("The sky ", response_metadata={"model_provider": "openai"}),
    ai("is blue."),
    ai("", tool_call_chunks=[{"index": 0, "id": "call-a", "name": "search", "args": '{"q":'}]),
    ai("", tool_call_chunks=[{"index": 0, "id": None, "name": None, "args": ' "sky"}'}]),
    ai(
        "",
        response_metadata={"finish_reason": "tool_calls", "model_name": "m"},
        usage_metadata={"input_tokens": 3, "output_tokens": 5},
    ),
]

SOURCES: dict[str, tuple[Source, list[Any]]] = {
    "openai_chat": (openai_chat, CHAT),
    "openai_responses": (openai_responses, RESPONSES),
    "anthropic": (anthropic, MESSAGES),
    "google_genai": (google_genai, CONTENT),
    "pydantic_ai": (pydantic_ai, RUN),
    "langchain": (langchain, GRAPH),
}
every_source = pytest.mark.parametrize("name", SOURCES)


async def stored(source: Source, events: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the parts that ``source`` yields, with adjacent text joined, and the last result."""
    parts: list[Any] = []
    result: dict[str, Any] = {}
    async for piece in source(Events(events)):
        if isinstance(piece, Result):
            assert isinstance(piece.value, dict)
            result = piece.value
        elif isinstance(piece, str) and parts and isinstance(parts[-1], str):
            parts[-1] += piece
        else:
            parts.append(piece)
    return parts, result


def text_of(parts: list[Any]) -> str:
    return "".join(part for part in parts if isinstance(part, str))


def of_type(parts: list[Any], kind: str) -> list[dict[str, Any]]:
    return [part for part in parts if isinstance(part, dict) and part["type"] == kind]


@every_source
async def test_text_reasoning_and_tools(name: str) -> None:
    parts, result = await stored(*SOURCES[name])
    assert text_of(parts) == "The sky is blue."
    assert "".join(part["delta"] for part in of_type(parts, "reasoning-delta")) == "Let me see."
    [start], [end] = of_type(parts, "reasoning-start"), of_type(parts, "reasoning-end")
    assert start["id"] == end["id"]
    assert parts.index(end) < parts.index(next(part for part in parts if isinstance(part, str)))
    given = {part["toolCallId"]: part["input"] for part in of_type(parts, "tool-input-available")}
    assert given["call-a"] == {"q": "sky"}
    assert of_type(parts, "tool-input-start")[0]["toolName"] == "search"
    assert result["finish_reason"] == "tool-calls"
    assert result["model"] == "m"
    assert (result["usage"]["input_tokens"], result["usage"]["output_tokens"]) == (3, 5)
    if name == "openai_chat":
        assert result == CHAT_RESULT
        assert given["call-b"] == {}
    if name == "openai_responses":
        assert of_type(parts, "source-url")[0]["url"] == "https://sky.example"


@every_source
async def test_a_silent_cut_raises(name: str) -> None:
    """G5: a source raises if the events stop before the last event of an answer.

    When a connection breaks, an SDK's iterator may end as it does after a complete answer.
    """
    source, events = SOURCES[name]
    for length in range(len(events)):
        if name == "langchain" and length < 2:
            continue  # the first event does not show which provider answers
        cut = events[:length]
        if name == "openai_chat" and any("finish_reason" in c for e in cut for c in e["choices"]):
            continue  # the events are complete except for the usage
        with pytest.raises(StreamError) as caught:
            await stored(source, cut)
        assert caught.value.code == "provider_cut", length


class APIStatusError(Exception):
    """An imitation of an SDK's error. A source recognizes such an error by its ``__module__``."""

    __module__ = "openai"
    code: str | None = None

    def __init__(self, status: int, code: str | None = None) -> None:
        super().__init__(f"{status}: {SECRET}")
        self.status_code = status
        self.code = code


@every_source
@pytest.mark.parametrize(
    ("status", "code", "public"),
    [
        (401, None, "provider_unauthorized"),
        (404, None, "provider_not_found"),
        (429, None, "provider_overloaded"),
        (400, None, "provider_refused"),
        (400, "context_length_exceeded", "context_too_long"),
        (500, None, "provider_error"),
        (529, None, "provider_overloaded"),
    ],
)
async def test_a_providers_text_is_not_shown(
    name: str, status: int, code: str | None, public: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source, events = SOURCES[name]
    async with PersistentTextStreaming("memory://") as streams:
        stream_id = await streams.create()
        failing = [*events[:3], APIStatusError(status, code)]
        streams.start(stream_id, lambda: source(Events(failing)))
        body = await streams.wait(stream_id)
    assert body.end is not None
    assert (body.status, body.end.code) == ("error", public)
    assert SECRET not in f"{body.end} {body.parts} {caplog.text}"


@pytest.mark.parametrize(
    ("source", "event"),
    [
        (openai_chat, {"error": {"code": "server_error", "message": SECRET}}),
        (openai_responses, {"type": "error", "code": "server_error", "message": SECRET}),
        (
            openai_responses,
            {"type": "response.failed", "response": {"error": {"code": "x", "message": SECRET}}},
        ),
        (anthropic, {"type": "error", "error": {"type": "api_error", "message": SECRET}}),
        (ui_chunks, {"type": "error", "errorText": SECRET}),
    ],
)
async def test_an_error_during_an_answer(
    source: Source, event: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StreamError) as caught:
        await stored(source, [event])
    assert caught.value.code == "provider_error"
    assert SECRET not in f"{caught.value} {caplog.text}"


@every_source
async def test_a_stop_closes_the_connection(name: str) -> None:
    """G6: a Stop closes the connection. Otherwise the provider could go on sending and charging."""
    source, events = SOURCES[name]
    opened = Events(events)
    reading = source(opened)
    await anext(reading)
    await reading.aclose()  # type: ignore[attr-defined]
    assert opened.closed


async def test_the_applications_own_error_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="mine"):
        await stored(openai_chat, [CHAT[0], ValueError("mine")])


async def test_a_synchronous_client() -> None:
    closed = []

    def chunks() -> Iterator[Any]:
        try:
            yield from CHAT
        finally:
            closed.append(True)

    pieces = list(openai_chat(chunks()))
    assert "".join(piece for piece in pieces if isinstance(piece, str)) == "The sky is blue."
    assert closed == [True]


async def test_a_call_may_be_given_unawaited_or_entered() -> None:
    class Manager:
        async def __aenter__(self) -> Events:
            return Events(CHAT)

        async def __aexit__(self, *error: object) -> None:
            return

    async def create() -> Manager:
        return Manager()

    pieces = [piece async for piece in openai_chat(create())]
    assert Result(CHAT_RESULT) in pieces


async def test_arguments_that_are_not_json_are_shown_as_text() -> None:
    events = [
        call(0, '{"q": "sk', id="call-a", name="search"),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]},
    ]
    parts, result = await stored(openai_chat, events)
    [part] = of_type(parts, "tool-input-error")
    assert (part["toolCallId"], part["input"]) == ("call-a", '{"q": "sk')
    assert result["finish_reason"] == "length"


async def test_calls_that_share_an_index() -> None:
    """Gemini's and Ollama's compatible endpoints may give every tool call the index 0."""
    events = [
        call(0, "{}", id="one", name="a"),
        call(0, "{}", id="two", name="b"),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    ]
    parts, _ = await stored(openai_chat, events)
    ids = [part["toolCallId"] for part in of_type(parts, "tool-input-available")]
    assert ids == ["one", "two"]


async def test_ui_chunks_keep_parts_and_drop_lifecycle() -> None:
    chunks = [
        {"type": "start", "messageId": "m"},
        {"type": "start-step"},
        {"type": "text-start", "id": "t"},
        {"type": "text-delta", "id": "t", "delta": "Hello"},
        {"type": "text-end", "id": "t"},
        {"type": "tool-output-available", "toolCallId": "c", "output": 1},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "stop"},
    ]
    parts, result = await stored(ui_chunks, chunks)
    kinds = [part if isinstance(part, str) else part["type"] for part in parts]
    assert kinds == ["start-step", "Hello", "tool-output-available", "finish-step"]
    assert result["finish_reason"] == "stop"
    with pytest.raises(StreamError, match="broke off"):
        await stored(ui_chunks, chunks[:-1])


async def test_a_graph_with_several_modes_nodes_and_tools() -> None:
    tool = {"type": "tool", "tool_call_id": "call-a", "content": "blue", "status": "success"}
    second = {"type": "AIMessageChunk", "id": "run-2", "content": "Blue."}
    why = {"response_metadata": {"finish_reason": "stop", "model_name": "m"}}
    events = [
        *[("messages", event) for event in GRAPH],
        ("messages", (tool, {})),
        ("custom", {"progress": 0.5}),
        ("updates", {"model": {}}),
        (("sub:1",), "messages", (second, {})),
        ("messages", (second | {"content": ""} | why, {})),
    ]
    parts, result = await stored(langchain, events)
    assert text_of(parts) == "The sky is blue.Blue."
    assert of_type(parts, "tool-output-available")[0]["output"] == "blue"
    assert of_type(parts, "data-custom")[0]["data"] == {"progress": 0.5}
    assert result["finish_reason"] == "stop"


async def test_a_stopped_answer_has_its_usage_so_far() -> None:
    reading = anthropic(Events(MESSAGES))
    first = await anext(reading)
    await reading.aclose()
    assert isinstance(first, Result)
    assert isinstance(first.value, dict)
    assert first.value["usage"] == {"input_tokens": 3}
