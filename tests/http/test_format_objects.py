"""Tests of formats that an application defines."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from inkstream import InvalidMessage, PersistentTextStreaming
from inkstream._types import End, StreamState
from inkstream.http.formats import Format
from inkstream.wire import RawJSON
from tests.http.asgi import Gate, ask, calling
from tests.http.sse import Event, Parser

ITEMS: list[Any] = ["one ", "two ", {"n": 2}, {"tool": "x"}, "three ", "four ", {"n": 6}, "end"]
MADE: list[str] = []
"""The state that each encoder got when it was made."""


class Bracketed:
    """An encoder that writes ``open`` before a text, ``close`` after it, and objects unchanged."""

    def __init__(self, stream: StreamState, state: str) -> None:
        MADE.append(state)
        self.open = self.tool = ""
        for part in state.split(".") if state else ():
            kind, number = part[:1], part[1:]
            if kind not in ("t", "i") or not number.isdecimal():
                raise ValueError(state)
            if kind == "t":
                self.open = number
            else:
                self.tool = number
        self.name = ""

    def recalls(self) -> Collection[int]:
        return (int(self.tool),) if self.tool else ()

    def recall(self, message: str | RawJSON, position: int) -> None:
        if isinstance(message, str):
            raise ValueError("no tool")
        self.name = json.loads(message.raw)["tool"]

    def _chunk(self, value: object) -> tuple[bytes, str]:
        open_now = [f"t{self.open}"] * bool(self.open) + [f"i{self.tool}"] * bool(self.tool)
        state = ".".join(open_now)
        return json.dumps(value).encode(), state

    def _close(self) -> Iterable[tuple[bytes, str]]:
        if self.open:
            was, self.open = self.open, ""
            yield self._chunk(["close", was])

    def feed(self, message: str | RawJSON, position: int) -> Iterable[tuple[bytes, str]]:
        if isinstance(message, str):
            if not self.open:
                self.open = str(position)
                yield self._chunk(["open", self.open])
            yield self._chunk(["text", message])
            return
        yield from self._close()
        value: dict[str, Any] = json.loads(message.raw)
        if "tool" in value:
            self.tool, self.name = str(position), value["tool"]
        yield self._chunk(value)

    def end(self, end: End) -> Iterable[tuple[bytes, str]]:
        yield from self._close()
        if self.tool:
            self.tool = ""
            yield self._chunk(["tool", self.name])
        yield self._chunk(["end", end.status.value])


FORM = Format(
    media_type="text/event-stream; v=1", encoder=Bracketed, headers={"x-stream-format": "v1"}
)


def serving(streams: PersistentTextStreaming, name: str, form: Format = FORM) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = streams.response(Request(scope, receive), name, format=form)
        await response(scope, receive, send)

    return app


async def events(app: ASGIApp, headers: Mapping[str, str] | None = None) -> list[Event]:
    return Parser().feed((await ask(app, "/", headers=headers)).body)


@pytest.fixture
async def name(streams: PersistentTextStreaming) -> str:
    name = await streams.create()
    async with streams.write(name) as writer:
        for item in ITEMS:
            await writer.append(item)
            await writer.flush()
    return name


async def test_cursor_resumes_at_each_chunk(streams: PersistentTextStreaming, name: str) -> None:
    """G2: a client that continues after any chunk, even inside a message, gets exactly the rest."""
    app = serving(streams, name)
    call = await ask(app, "/")
    assert call.headers["content-type"] == FORM.media_type
    assert call.headers["x-stream-format"] == "v1"
    assert call.finished
    whole = Parser().feed(call.body)
    assert [e.value for e in whole] == [
        ["open", "0"],
        ["text", "one two "],
        ["close", "0"],
        {"n": 2},
        {"tool": "x"},
        ["open", "4"],
        ["text", "three four "],
        ["close", "4"],
        {"n": 6},
        ["open", "7"],
        ["text", "end"],
        ["close", "7"],
        ["tool", "x"],
        ["end", "done"],
    ]
    assert len({e.id for e in whole}) == len(whole)
    for at, event in enumerate(whole[:-1]):
        assert await events(app, {"last-event-id": event.id}) == whole[at + 1 :], event
    last = await ask(app, "/", headers={"last-event-id": whole[-1].id})
    assert last.status == 204


@pytest.mark.parametrize("state", [None, "t", "x9", "i0", "i99", "t1t1"])
async def test_unknown_state_is_rebuilt(
    streams: PersistentTextStreaming, name: str, state: str | None
) -> None:
    """G2: a client whose cursor has no state, or an unknown state, still gets exactly the rest.

    The server encodes the earlier messages again to rebuild the state.
    """
    app = serving(streams, name)
    whole = await events(app)
    offset = whole[4].id.partition("~")[0]
    MADE.clear()
    rest = await events(app, {"last-event-id": offset + ("" if state is None else f"~{state}")})
    assert [e.value for e in rest] == [e.value for e in whole[5:]]
    assert MADE[-1] == ""


@pytest.mark.parametrize("cursor", ["~t1", "0~", "x~", "a" * 257, "-1~\x7f" + "s" * 300])
async def test_malformed_cursor_is_refused(
    streams: PersistentTextStreaming, name: str, cursor: str
) -> None:
    """G10: the server answers a malformed cursor with 400."""
    call = await ask(serving(streams, name), "/", headers={"last-event-id": cursor})
    assert (call.status, call.code) == (400, "invalid_offset")


async def test_cut_leaves_the_answer_broken(streams: PersistentTextStreaming) -> None:
    """G5: some clients take the clean end of a response for the end of the stream.

    So a response that the server cuts must not end cleanly.
    """
    name, gate = await streams.create(), Gate()
    streams.start(name, gate)
    gate.say("some")
    async with calling(serving(streams, name), "/") as call:
        await call.until(lambda: b"some" in call.body)
        for reader in list(streams.engine.readers._readers):
            reader.close()
        await call.answered()
        assert not call.finished
    gate.say(None)


async def test_an_error_of_an_encoder_is_logged(
    streams: PersistentTextStreaming, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing(Bracketed):
        def feed(self, message: str | RawJSON, position: int) -> Iterable[tuple[bytes, str]]:
            raise InvalidMessage("not a JSON value")

    form = Format(media_type="text/event-stream", encoder=Refusing)
    call = await ask(serving(streams, name, form), "/")
    assert not call.finished
    [record] = caplog.records
    assert "not a JSON value" in str(record.exc_info)


async def test_abort_never_stops_a_format_object(
    streams: PersistentTextStreaming, name: str
) -> None:
    """G6: with a format object, ``stream()`` refuses ``on_disconnect="cancel"``.

    A disconnect does not show that the user pressed Stop.
    """
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [],
        "query_string": b"",
    }
    with pytest.raises(ValueError, match="an abort is not a Stop"):
        streams.stream(Request(scope), name, Gate(), format=FORM, on_disconnect="cancel")
    with pytest.raises(TypeError, match="a Format"):
        streams.response(Request(scope), name, format=Bracketed)  # type: ignore[arg-type]
