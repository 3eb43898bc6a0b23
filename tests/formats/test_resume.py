from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inkstream import End, Status, wire
from inkstream.formats import ag_ui, ai_sdk, ai_sdk_7, ndjson, openai_chat
from inkstream.formats._ai_sdk import ai_sdk_from
from inkstream.http.formats import MAX_STATE, Format
from inkstream.parts import fold
from tests.formats.clients import AGUI, AISDK
from tests.formats.encoding import DONE, Message, answers, encode, ends, ids, stored

FORMATS = {
    "ai_sdk": ai_sdk,
    "ai_sdk_7": ai_sdk_7,
    "ag_ui": ag_ui,
    "openai_chat": openai_chat,
    "ndjson": ndjson,
}
forms = pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)


@forms
@settings(max_examples=60)
@given(answers, ends)
def test_suffix_at_every_chunk(form: Format, messages: list[Message], end: End) -> None:
    """G2: a reconnect after any chunk returns exactly the chunks that follow that chunk."""
    segments = stored(messages)
    whole = encode(form, segments, end)
    places = [(chunk.position, chunk.state, chunk.ended) for chunk in whole]
    assert len(set(places)) == len(places), (
        "two chunks have one id, and some clients drop the second chunk"
    )
    for i, chunk in enumerate(whole[:-1], 1):
        rest = encode(form, segments, end, position=chunk.position, state=chunk.state)
        assert rest == whole[i:], chunk


@forms
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_deepest_message_is_sent(form: Format, wrapped: bool) -> None:
    """A format may put a stored message into an object, and so add one level of JSON.

    If the format refused this level, a message of the greatest depth would break off every
    response.
    """
    deep: Any = 1
    for _ in range(wire.MAX_JSON_DEPTH - wrapped):
        deep = {"a": deep}
    message = {"type": "data-x", "data": deep} if wrapped else deep
    assert encode(form, stored([message]))


@forms
@given(answers, ends, st.integers(1, 5), st.integers(1, 5), st.data())
def test_cut_anywhere(
    form: Format,
    messages: list[Message],
    end: End,
    at_once: int,
    then: int,
    data: st.DataObject,
) -> None:
    """G2: a client builds the stored message, although its answer was cut and continued."""
    segments = stored(messages)
    live = encode(form, segments, end, at_once=at_once)
    cut = data.draw(st.integers(0, len(live) - 1))
    seen = live[:cut]
    position, state = (seen[-1].position, seen[-1].state) if seen else (0, "")
    rest = encode(form, segments, end, position=position, state=state, at_once=then)
    values = [chunk.value for chunk in (*seen, *rest)] if form is not ndjson else []
    if form is ai_sdk:
        client = AISDK().take(values)
        shown = fold([json.loads(json.dumps(m)) for m in messages], ended=True)
        assert client.parts == shown["parts"]
        assert client.metadata == shown.get("metadata")
        assert client.last is not None
    elif form is ag_ui:
        events = AGUI().take(values)
        assert events.last is not None
        assert "".join(
            event["delta"] for event in values if event["type"] == "TEXT_MESSAGE_CONTENT"
        ) == "".join(message for message in messages if isinstance(message, str))


def many_calls(calls: int) -> list[Message]:
    """Return an answer in which ``calls`` tool calls are open at the same time."""
    messages: list[Message] = []
    late = range(0, calls, 8)
    for n in range(calls):
        call = {"toolCallId": f"c{n}", "toolName": "t"}
        if n in late:
            messages += [
                {"type": "tool-input-start", **call},
                {"type": "reasoning-start", "id": f"r{n}"},
                {"type": "tool-input-delta", "toolCallId": f"c{n}", "inputTextDelta": "{}"},
                f"text {n}",
            ]
        else:
            messages.append({"type": "tool-input-available", **call, "input": {}})
    for n in late:
        call = {"toolCallId": f"c{n}", "toolName": "t"}
        messages.append({"type": "tool-input-available", **call, "input": {}})
        messages.append({"type": "reasoning-delta", "id": f"r{n}", "delta": "hm"})
    for n in range(calls):
        messages.append({"type": "tool-output-available", "toolCallId": f"c{n}", "output": n})
    return messages


@pytest.mark.parametrize(
    ("calls", "name"),
    [*((19, name) for name in FORMATS), (60, "openai_chat"), (200, "ai_sdk"), (200, "ag_ui")],
)
def test_any_number_of_calls_cut_everywhere(calls: int, name: str) -> None:
    """G2, G9: with many open tool calls, each cursor is short, and leads to the chunks after it."""
    form = FORMATS[name]
    segments = stored(many_calls(calls))
    whole = encode(form, segments)
    assert max(len(chunk.state) for chunk in whole) <= MAX_STATE
    places = [(chunk.position, chunk.state, chunk.ended) for chunk in whole]
    assert len(set(places)) == len(places)
    for i, chunk in enumerate(whole[:-1], 1):
        soon = [s for s in segments if s.end <= chunk.position + 4]
        whole_rest = i % 100 == 0 or len(soon) == len(segments)
        rest = encode(
            form,
            segments if whole_rest else soon,
            DONE if whole_rest else None,
            position=chunk.position,
            state=chunk.state,
        )
        assert rest == whole[i : len(whole) if whole_rest else i + len(rest)], chunk


def test_long_state_of_a_continuation() -> None:
    """G2: a cursor of ``ai_sdk_from``, which leaves chunks out, also works with ``ai_sdk``."""
    segments = stored(many_calls(60))
    since = segments[-1].end - 40
    whole = encode(ai_sdk_from(since), segments)
    for i, chunk in enumerate(whole[:-1], 1):
        rest = encode(ai_sdk, segments, position=chunk.position, state=chunk.state)
        assert [c.data for c in rest] == [c.data for c in whole[i:]], chunk


@forms
@given(
    st.text(max_size=20)
    | st.from_regex(r"x[0-9]{0,7}|[sf]x?(\.[ternbac][0-9]{1,3}){0,4}", fullmatch=True)
)
def test_forged_state_is_refused_or_harmless(form: Format, state: str) -> None:
    """G10: a reconnect with a forged state in its cursor still gets the end of the answer."""
    segments = stored(["a", {"type": "reasoning-start", "id": "r"}, "b"])
    rest = encode(form, segments, position=2, state=state)
    assert rest[-1].ended


@given(answers, ids)
def test_every_part_of_the_vocabulary_reaches_v7(messages: list[Message], name: str) -> None:
    """``ai_sdk`` sends the chunks of ``ai_sdk_7``, but wraps two types that version 7 added."""
    segments = stored(messages)
    six = [c.value for c in encode(ai_sdk, segments)]
    seven = [c.value for c in encode(ai_sdk_7, segments)]
    for before, after in zip(six, seven, strict=True):
        if before != after:
            assert before == {"type": "data-part", "data": after}
            assert after["type"] in ("custom", "reasoning-file")


def test_ends() -> None:
    """G5: the last chunk says how the stream ended."""

    def last(form: Format, end: End) -> object:
        chunks = [chunk.value for chunk in encode(form, stored(["x"]), end)]
        return chunks[-2] if chunks[-1] == "[DONE]" else chunks[-1]

    failed = End(Status.ERROR, "provider_overloaded", "Too many questions.")
    run = {"threadId": "chat", "runId": "answer"}
    assert last(ai_sdk, DONE) == {"type": "finish", "finishReason": "stop"}
    assert last(ai_sdk, failed) == {"type": "error", "errorText": "Too many questions."}
    assert last(ai_sdk, End(Status.CANCELLED)) == {"type": "abort"}
    assert last(ag_ui, DONE) == {"type": "RUN_FINISHED", **run, "result": DONE.result}
    assert last(ag_ui, failed) == {
        "type": "RUN_ERROR",
        "message": "Too many questions.",
        "code": "provider_overloaded",
    }
    assert last(ag_ui, End(Status.CANCELLED)) == {
        "type": "RUN_FINISHED",
        **run,
        "outcome": {"type": "cancelled"},
    }
    usage = {"input_tokens": 3, "output_tokens": 4}
    done = End(Status.DONE, result={"finish_reason": "max_tokens", "usage": usage, "model": "m"})
    chunk = last(openai_chat, done)
    assert isinstance(chunk, dict)
    assert chunk["choices"] == [{"index": 0, "delta": {}, "finish_reason": "length"}]
    assert chunk["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert chunk["model"] == "m"
    assert last(openai_chat, failed) == {
        "error": {
            "message": "Too many questions.",
            "type": "error",
            "code": "provider_overloaded",
            "param": None,
        }
    }
