from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from inkstream import MessageTooLarge, PersistentTextStreaming, Status, StreamError
from inkstream.ai_sdk import UIMessageChat
from inkstream.ai_sdk._turn import message_id_of
from inkstream.testing import ScriptedSource
from tests.formats.clients import AISDK
from tests.http.asgi import ShiftedClock
from tests.http.sse import Parser


class Client:
    def __init__(self, chat: UIMessageChat, owner: str | None = "ada") -> None:
        self.chat, self.owner = chat, owner

    async def post(self, body: Any, source: Any, **headers: str) -> Answer:
        request = _request("POST", headers)
        return await _sent(request, await self.chat.reply(request, body, source, owner=self.owner))

    async def resume(self, chat_id: str = "chat", **headers: str) -> Answer:
        request = _request("GET", headers)
        return await _sent(request, await self.chat.resume(request, chat_id, owner=self.owner))


class Answer:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def chunks(self) -> list[Any]:
        return [event.value for event in self._events]

    @property
    def ids(self) -> list[str]:
        return [event.id for event in self._events]

    @property
    def _events(self) -> list[Any]:
        body = self.body.replace(b"data: [DONE]", b'data: "[DONE]"')
        return Parser().feed(body)

    @property
    def message(self) -> AISDK:
        return AISDK().take(self.chunks)


def _request(method: str, headers: Mapping[str, str]) -> Request:
    raw = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return Request(
        {"type": "http", "method": method, "path": "/", "headers": raw, "query_string": b""},
    )


async def _sent(request: Request, response: Response) -> Answer:
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async with asyncio.timeout(8):
        await response(request.scope, receive, send)
    headers = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return Answer(sent[0]["status"], headers, b"".join(m["body"] for m in sent[1:]))


def user(text: str, name: str = "u1") -> dict[str, Any]:
    return {"id": name, "role": "user", "parts": [{"type": "text", "text": text}]}


def ask(*messages: Any, chat_id: str = "chat") -> dict[str, Any]:
    return {"id": chat_id, "messages": list(messages), "trigger": "submit-message"}


def says(*items: Any) -> Any:
    async def source() -> AsyncIterator[Any]:
        for item in items:
            if isinstance(item, Exception):
                raise item
            yield item

    return source


CALL: dict[str, Any] = {
    "type": "tool-input-available",
    "toolCallId": "c1",
    "toolName": "where",
    "input": {},
}


def with_output(message: AISDK, output: Any) -> dict[str, Any]:
    parts = [dict(part) for part in message.parts]
    for part in parts:
        if part.get("toolCallId") == "c1":
            part.update(state="output-available", output=output)
    return {"id": message.id, "role": "assistant", "parts": parts}


@pytest.fixture
def clock() -> ShiftedClock:
    return WallToo()


class WallToo(ShiftedClock):
    def wall(self) -> float:
        return super().wall() + self.ahead_s


@pytest.fixture
async def streams(clock: ShiftedClock) -> AsyncIterator[PersistentTextStreaming]:
    async with PersistentTextStreaming("memory://", clock=clock) as streams:
        yield streams


@pytest.fixture
def page(streams: PersistentTextStreaming) -> Client:
    return Client(UIMessageChat(streams))


async def test_ask_and_history(page: Client) -> None:
    """G2: the message that a page received equals the message that the history contains later."""
    answer = await page.post(ask(user("hi")), says("Hello ", "you"))
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.message.parts == [{"type": "text", "text": "Hello you", "state": "done"}]
    shown = {"id": answer.message.id, "role": "assistant", "parts": answer.message.parts}
    history = await page.chat.messages("chat", owner="ada")
    assert history == [user("hi"), shown]
    second = await page.post(ask(*history, user("more", "u2")), says("Again"))
    assert [m["id"] for m in await page.chat.messages("chat", owner="ada")] == [
        "u1",
        answer.message.id,
        "u2",
        second.message.id,
    ]


async def test_resume_replays_what_is_live(page: Client, streams: PersistentTextStreaming) -> None:
    """G2, G6: the history lacks a running answer, so a reloaded page gets it from ``resume``."""
    assert (await page.resume()).status == 204
    source = ScriptedSource()
    asked = asyncio.create_task(page.post(ask(user("hi")), source))
    await source.send("one ", "two ")
    assert await page.chat.messages("chat", owner="ada") == [user("hi")]
    resumed = asyncio.create_task(page.resume())
    again = asyncio.create_task(page.resume())
    await source.send("three")
    await source.finish()
    answers = [await asked, await resumed, await again]
    assert len({answer.message.id for answer in answers}) == 1
    for answer in answers:
        assert answer.message.parts[0]["text"] == "one two three"


async def test_resume_continues_inside_a_part(page: Client) -> None:
    """G2: with an event id of an old answer, ``resume`` returns the rest of the old answer."""
    first = await page.post(
        ask(user("hi")),
        says({"type": "reasoning-start", "id": "r"}, "text", CALL, "more"),
    )
    await page.post(ask(user("hi"), user("other", "u2")), says("second answer"))
    for i, name in enumerate(first.ids[:-1], 1):
        rest = await page.resume(last_event_id=name)
        assert rest.chunks == first.chunks[i:]
    assert (await page.resume(last_event_id=first.ids[-1])).status == 204


async def test_a_recent_answer_is_replayed(page: Client, clock: ShiftedClock) -> None:
    """G5: for a minute after the end of an answer, ``resume`` replays the answer.

    Otherwise a page would miss an answer that ends after the page got the history and before it
    calls ``resume``.
    """
    answer = await page.post(ask(user("hi")), says("short"))
    assert (await page.resume()).chunks == answer.chunks
    clock.ahead_s += 61
    assert (await page.resume()).status == 204


async def test_an_unknown_offset_is_an_error(page: Client) -> None:
    """G10: an offset of another stream gets 410, and a string that is no offset gets 400."""
    await page.post(ask(user("hi")), says("short"))
    known = (await page.resume()).ids[0]
    other = "9" * 16 + known[16:] if known[16] == "_" else "9" * 10 + known[10:]
    assert (await page.resume(last_event_id=other)).status == 410
    assert (await page.resume(last_event_id="nonsense")).status == 400


async def test_stop_from_anywhere(page: Client, streams: PersistentTextStreaming) -> None:
    """G6: ``stop`` keeps the answer's text. It does nothing for another stream or another user."""
    assert not await page.chat.stop("chat", owner="ada")
    source = ScriptedSource()
    asked = asyncio.create_task(page.post(ask(user("hi")), source))
    await source.send("one ")
    await asyncio.wait_for(source.started.wait(), 8)
    async for part in streams.follow((await _latest(streams)).stream_id):
        assert part == "one "
        break
    assert not await page.chat.stop("chat", {"stream_id": "of-another"}, owner="ada")
    assert not await page.chat.stop("chat", owner="eve")
    assert await page.chat.stop("chat", owner="ada")
    answer = await asked
    assert answer.chunks[-2:] == [{"type": "abort"}, "[DONE]"]
    await asyncio.wait_for(source.closed.wait(), 8)
    (_, message) = await page.chat.messages("chat", owner="ada")
    assert message["parts"] == answer.message.parts
    assert message["metadata"] == {"inkstream": {"status": "cancelled", "message": None}}


async def test_stop_ends_the_named_answer(page: Client, streams: PersistentTextStreaming) -> None:
    """If two windows ask at once, a Stop with the id of the first answer ends only this answer."""
    sources = ScriptedSource(), ScriptedSource()
    asked, names = [], []
    for number, source in enumerate(sources):
        asked.append(asyncio.create_task(page.post(ask(user("q", f"u{number}")), source)))
        await source.send("one ")
        await asyncio.wait_for(source.started.wait(), 8)
        names.append((await _latest(streams)).stream_id)
    theirs = await streams.create(owner="ada", group="another chat")
    log = await streams.create(kind="log", owner="ada", group="chat")
    for name in (theirs, log, "absent", "", 5):
        assert not await page.chat.stop("chat", {"stream_id": name}, owner="ada")
    assert not await page.chat.stop("chat", {"stream_id": names[0]}, owner="eve")
    assert await page.chat.stop("chat", {"stream_id": names[0]}, owner="ada")
    assert (await asked[0]).chunks[-2:] == [{"type": "abort"}, "[DONE]"]
    assert not await page.chat.stop("chat", {"stream_id": names[0]}, owner="ada")
    await sources[1].finish()
    assert (await asked[1]).chunks[-2]["type"] == "finish"
    assert not (await streams.read(theirs)).status.ended


async def _latest(streams: PersistentTextStreaming) -> Any:
    latest = await streams.latest(group="chat")
    assert latest is not None
    return latest


async def test_client_side_tool_continues_the_message(
    page: Client, streams: PersistentTextStreaming
) -> None:
    """G2: a POST with a tool's output returns only new parts. The history has each part once."""
    first = await page.post(ask(user("where am I?")), says("Looking. ", CALL))
    done = with_output(first.message, {"city": "Bern"})
    second = await page.post(ask(user("where am I?"), done), says("You are in ", "Bern."))
    assert second.message.id == first.message.id
    assert second.message.parts == [
        {"type": "step-start"},
        {"type": "text", "text": "You are in Bern.", "state": "done"},
    ]
    whole = [*done["parts"], *second.message.parts]
    replay = await page.resume()
    assert replay.message.parts == whole
    assert replay.message.id == first.message.id
    history = await page.chat.messages("chat", owner="ada")
    assert history == [
        user("where am I?"),
        {"id": first.message.id, "role": "assistant", "parts": whole},
    ]
    for i, name in enumerate(second.ids[:-1], 1):
        assert (await page.resume(last_event_id=name)).chunks == second.chunks[i:]


async def test_two_windows_continue_one_message(page: Client) -> None:
    """G4: if a tool ran in two windows, one source answers, and both windows show the answer."""
    first = await page.post(ask(user("where?")), says(CALL))
    body = ask(user("where?"), with_output(first.message, "here"))
    sources = ScriptedSource(), ScriptedSource()
    asked = [asyncio.create_task(page.post(body, source)) for source in sources]
    started = [asyncio.create_task(source.started.wait()) for source in sources]
    await asyncio.wait(started, timeout=8, return_when=asyncio.FIRST_COMPLETED)
    (writer,) = [source for source in sources if source.started.is_set()]
    await writer.send("Here.")
    third = asyncio.create_task(page.post(body, ScriptedSource()))
    await writer.finish()
    answers = [*(await asyncio.gather(*asked)), await third]
    for answer in answers:
        assert answer.message.parts[1:] == [{"type": "text", "text": "Here.", "state": "done"}]
    assert sum(source.calls for source in sources) == 1
    for task in started:
        task.cancel()


async def test_a_running_answer_is_not_continued(
    page: Client, streams: PersistentTextStreaming
) -> None:
    running, refused = ScriptedSource(), ScriptedSource()
    asked = asyncio.create_task(page.post(ask(user("where?")), running))
    await running.send(CALL)
    state = await streams.latest(owner="ada", group="chat")
    assert state is not None
    output = {"type": "tool-where", "toolCallId": "c1", "state": "output-available", "output": "x"}
    answer = {"id": message_id_of(state), "role": "assistant", "parts": [output]}
    refusal = await page.post(ask(user("where?"), answer), refused)
    assert refusal.status == 409
    assert b"The answer has not ended yet." in refusal.body
    assert refused.calls == 0
    await running.finish()
    assert (await asked).message.id == message_id_of(state)


async def test_outputs_only_for_open_calls(page: Client) -> None:
    """A page that changes stored parts or outputs gets 409, and the history stays as it is."""
    output = {"type": "tool-output-available", "toolCallId": "c1", "output": "server"}
    first = await page.post(ask(user("q")), says("Said.", CALL, output))
    forged = with_output(first.message, "forged")
    forged["parts"][0]["text"] = "Never said."
    forged["parts"].append({"type": "tool-x", "toolCallId": "c9", "state": "output-available"})
    source = ScriptedSource()
    assert (await page.post(ask(user("q"), forged), source)).status == 409
    assert source.calls == 0, "the refused request must not call the source"
    (_, message) = await page.chat.messages("chat", owner="ada")
    assert [part.get("text", part.get("output")) for part in message["parts"]] == [
        "Said.",
        "server",
    ]


async def test_a_failed_continuation_can_be_retried(page: Client) -> None:
    """A retry keeps the tool's output and the text of the answer that failed."""
    first = await page.post(ask(user("q")), says(CALL))
    body = ask(user("q"), with_output(first.message, "here"))
    assert (await page.post(body, says("Half", RuntimeError()))).message.last is not None
    (_, message) = await page.chat.messages("chat", owner="ada")
    await page.post(ask(user("q"), message), says("whole"))
    (_, message) = await page.chat.messages("chat", owner="ada")
    texts = [part.get("text", part.get("output")) for part in message["parts"]]
    assert texts == ["here", None, "Half", None, "whole"]


async def test_regenerated_and_edited(page: Client) -> None:
    """The history shows only the last version of regenerated and edited messages."""
    await page.post(ask(user("q")), says("first"))
    await page.post(ask(user("q")), says("second"))
    history = await page.chat.messages("chat", owner="ada")
    assert [m["parts"][0]["text"] for m in history] == ["q", "second"]
    await page.post(ask(*history, user("q2", "u2")), says("third"))
    await page.post(ask(user("q edited")), says("fourth"))
    history = await page.chat.messages("chat", owner="ada")
    assert [m["parts"][0]["text"] for m in history] == ["q edited", "fourth"]


async def test_a_window_that_is_behind_begins_a_branch(
    page: Client, streams: PersistentTextStreaming
) -> None:
    """The history shows the newest answer, and the messages that its window sent.

    The answers of other windows stay stored.
    """
    await page.post(ask(user("q")), says("first"))
    both = await page.chat.messages("chat", owner="ada")
    await page.post(ask(*both, user("q2", "u2")), says("second"))
    await page.post(ask(*both, user("q3", "u3")), says("third"))
    assert await texts(page) == ["q", "first", "q3", "third"]
    stored = (await streams.list(owner="ada", group="chat")).streams
    shown = [page.chat.message(await streams.read(state.stream_id)) for state in stored]
    assert [m["parts"][0]["text"] for m in shown] == ["third", "second", "first"]
    questions = [state.metadata["inkstream.ui_message"]["question"] for state in stored]  # type: ignore[index,call-overload]
    assert [q["id"] for q in questions] == ["u3", "u2", "u1"]  # type: ignore[index,call-overload]


async def test_last_message_alone_is_enough(page: Client) -> None:
    """If pages send only their last message, the history contains the messages of all windows.

    While the source runs, the history ends with the new question. If a question is edited or asked
    again, the new answer replaces the old answer.
    """

    async def asked(question: str, name: str, answer: str) -> None:
        async def source() -> AsyncIterator[str]:
            seen.append(await texts(page))
            yield answer

        await page.post({"id": "chat", "message": user(question, name)}, source)

    seen: list[list[str]] = []
    await asked("q", "u1", "first")
    await asked("q2", "u2", "second")
    await asked("q3", "u3", "third")
    assert seen[-1] == ["q", "first", "q2", "second", "q3"]
    assert await texts(page) == ["q", "first", "q2", "second", "q3", "third"]
    await asked("q3", "u3", "third again")
    assert await texts(page) == ["q", "first", "q2", "second", "q3", "third again"]
    await asked("q2 edited", "u2", "fourth")
    assert seen[-1] == ["q", "first", "q2 edited"]
    assert await texts(page) == ["q", "first", "q2 edited", "fourth"]


async def texts(page: Client) -> list[str]:
    history = await page.chat.messages("chat", owner="ada")
    return [message["parts"][0]["text"] for message in history]


async def test_a_failure_has_a_public_message(page: Client) -> None:
    """G5: a page gets the public message of a ``StreamError``, and no text of another exception."""
    failed = StreamError("Too many questions at once.", code="overloaded")
    answer = await page.post(ask(user("q")), says("some ", failed))
    assert answer.message.last == {"type": "error", "errorText": "Too many questions at once."}
    (_, message) = await page.chat.messages("chat", owner="ada")
    assert message["metadata"]["inkstream"]["message"] == "Too many questions at once."
    secret = await page.post(ask(user("q")), says("some ", RuntimeError("secret")))
    assert b"secret" not in secret.body


@pytest.mark.parametrize("said", [(), ("some ",)])
async def test_a_failure_is_not_sent_again(page: Client, said: tuple[str, ...]) -> None:
    """After a failure, ``resume`` answers 204. Otherwise a reload would call ``onError`` again."""
    answer = await page.post(ask(user("q")), says(*said, StreamError("Too many questions.")))
    assert (await page.resume()).status == 204
    (_, message) = await page.chat.messages("chat", owner="ada")
    assert message["id"] == answer.message.id
    assert [part["text"] for part in message["parts"]] == list(said)
    assert message["metadata"]["inkstream"] == {
        "status": "error",
        "message": "Too many questions.",
    }
    # A page that lost its connection before the end still gets the end.
    again = await page.resume(last_event_id=answer.ids[0])
    assert again.chunks == answer.chunks[1:]


async def test_a_stop_is_not_sent_again(page: Client) -> None:
    """G6: after a Stop, ``resume`` returns 204, and the history shows the status ``cancelled``."""
    source = ScriptedSource()
    asked = asyncio.create_task(page.post(ask(user("hi")), source))
    await asyncio.wait_for(source.started.wait(), 8)
    assert await page.chat.stop("chat", owner="ada")
    assert (await asked).chunks[-2:] == [{"type": "abort"}, "[DONE]"]
    assert (await page.resume()).status == 204
    (_, message) = await page.chat.messages("chat", owner="ada")
    assert message["metadata"] == {"inkstream": {"status": "cancelled", "message": None}}


async def test_an_unfinished_call_is_over_in_the_history(page: Client) -> None:
    """In the history, an unfinished tool call of a failed answer is an error.

    So a reloaded page does not wait for this call.
    """
    start = {"type": "tool-input-start", "toolCallId": "c1", "toolName": "t"}
    answer = await page.post(ask(user("q")), says(start, StreamError("Failed.")))
    assert answer.message.parts[0]["state"] == "input-streaming"
    (_, message) = await page.chat.messages("chat", owner="ada")
    assert message["parts"][0]["state"] == "output-error"


async def test_owners_are_kept_apart(page: Client, streams: PersistentTextStreaming) -> None:
    """Another user who knows a chat's id can neither read nor change the chat."""
    first = await page.post(ask(user("q")), says("mine", CALL))
    eve = Client(page.chat, "eve")
    assert (await eve.resume()).status == 204
    assert (await eve.resume(last_event_id=first.ids[1])).status in (204, 410)
    assert await page.chat.messages("chat", owner="eve") == []
    await eve.post(ask(user("q"), with_output(first.message, "forged")), says("hers"))
    (_, message) = await page.chat.messages("chat", owner="ada")
    assert [p.get("text") for p in message["parts"]] == ["mine", None]
    assert message["parts"][1]["state"] == "input-available"


async def test_post_with_a_last_event_resumes(page: Client) -> None:
    """A client that repeats its POST with its last event's id gets the rest of the same answer."""
    first = await page.post(ask(user("q")), says("one"))
    source = ScriptedSource()
    again = await page.post(ask(user("q")), source, last_event_id=first.ids[1])
    assert again.chunks == first.chunks[2:]
    assert source.calls == 0


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"id": 5, "messages": []},
        {"id": "chat", "messages": []},
        {"id": "c" * 5000, "messages": [user("q")]},
        {"id": "chat", "messages": ["x"]},
        {"id": "chat", "messages": [{"role": "user"}]},
        {"id": "chat\x00", "messages": [{"id": "m\x00", "role": "assistant", "parts": [None]}]},
    ],
)
async def test_a_wrong_body_is_refused(page: Client, body: Any) -> None:
    source = ScriptedSource()
    assert (await page.post(body, source)).status == 400
    assert source.calls == 0
    assert (await page.resume("c" * 5000)).status == 400


async def test_another_site_starts_nothing(page: Client, streams: PersistentTextStreaming) -> None:
    source = ScriptedSource()
    answer = await page.post(
        ask(user("q")), source, cookie="a=b", origin="https://evil.example", host="good.example"
    )
    assert answer.status == 403
    assert await streams.latest(group="chat") is None


async def test_latest_is_the_newest_text(streams: PersistentTextStreaming) -> None:
    with pytest.raises(ValueError, match="whose latest"):
        await streams.latest()
    name = await streams.create(owner="ada", group="chat")
    for _ in range(12):
        await streams.create(owner="ada", group="chat", kind="log")
    await streams.create(owner="eve", group="chat")
    latest = await streams.latest(owner="ada", group="chat")
    assert latest is not None
    assert (latest.stream_id, latest.status) == (name, Status.PENDING)
    assert await streams.latest(owner="ada", group="other") is None


async def test_begin_comes_before_the_writers_text(streams: PersistentTextStreaming) -> None:
    """G2: the messages in ``begin`` come before the text of the writer."""
    begin: list[Any] = ["x" * 50_000, {"n": 1}, "y" * 50_000, {"n": 2}]
    name = await streams.create(begin=begin)
    assert list((await streams.read(name)).parts) == begin
    async with streams.write(name) as writer:
        await writer.append("end")
    assert list((await streams.read(name)).parts) == [*begin, "end"]
    with pytest.raises(TypeError):
        await streams.create(begin="text")
    with pytest.raises(MessageTooLarge):
        await streams.create(begin=["x" * 1_048_577])
