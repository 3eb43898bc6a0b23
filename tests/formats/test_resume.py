"""Every format goes on from each of its chunks, and what clients make of it is what is stored."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inkstream import End, Status
from inkstream.formats import ag_ui, ai_sdk, ai_sdk_7, ndjson, openai_chat
from inkstream.http.encoded import MAX_CURSOR
from inkstream.http.formats import Format
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
    """G2: a reconnect after any chunk brings exactly the rest, read from there only."""
    segments = stored(messages)
    whole = encode(form, segments, end)
    places = [(chunk.position, chunk.state, chunk.ended) for chunk in whole]
    assert len(set(places)) == len(places), "two chunks with one id: some clients drop the second"
    for i, chunk in enumerate(whole[:-1], 1):
        rest = encode(form, segments, end, position=chunk.position, state=chunk.state)
        assert rest == whole[i:], chunk


@forms
@given(answers, ends, st.integers(1, 5), st.integers(1, 5), st.data())
def test_cut_anywhere_however_it_came(
    form: Format,
    messages: list[Message],
    end: End,
    at_once: int,
    then: int,
    data: st.DataObject,
) -> None:
    """G2: a cut live answer, gone on with, is the same message to its client."""
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


@forms
@settings(max_examples=10)
@given(st.integers(1, 60), st.lists(st.integers(0, 59), max_size=40))
def test_cursors_stay_short(form: Format, calls: int, outputs: list[int]) -> None:
    """G9: however many parts are open, a cursor is short enough to be taken."""
    messages: list[Message] = []
    for n in range(calls):
        messages += [
            {"type": "reasoning-start", "id": f"r{n}"},
            {"type": "tool-input-available", "toolCallId": f"c{n}", "toolName": "t", "input": 1},
            "text",
        ]
    messages += [
        {"type": "tool-output-available", "toolCallId": f"c{n}", "output": 1} for n in outputs
    ]
    segments = stored(messages)
    whole = encode(form, segments)
    assert max(len(chunk.state) for chunk in whole) < MAX_CURSOR - 60
    for i in range(1, len(whole), 7):
        rest = encode(form, segments, position=whole[i - 1].position, state=whole[i - 1].state)
        assert rest == whole[i:]


@forms
@given(st.text(max_size=20) | st.from_regex(r"[sf]x?(\.[ternbac][0-9]{1,3}){0,4}", fullmatch=True))
def test_forged_state_is_refused_or_harmless(form: Format, state: str) -> None:
    """G10: a state comes from a client: it is refused, or spoils that client's own view only."""
    segments = stored(["a", {"type": "reasoning-start", "id": "r"}, "b"])
    try:
        encode(form, segments, position=2, state=state)
    except ValueError:
        return


@given(answers, ids)
def test_every_part_of_the_vocabulary_reaches_v7(messages: list[Message], name: str) -> None:
    """A page of version 7 gets what version 6 gets, but for two types that only it has."""
    segments = stored(messages)
    six = [c.value for c in encode(ai_sdk, segments)]
    seven = [c.value for c in encode(ai_sdk_7, segments)]
    for before, after in zip(six, seven, strict=True):
        if before != after:
            assert before == {"type": "data-part", "data": after}
            assert after["type"] in ("custom", "reasoning-file")


def test_ends() -> None:
    """G5: each format says how the stream ended, and nothing of an exception."""

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
