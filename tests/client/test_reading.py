"""A reader's state machine handles responses and cuts, without a server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import anyio.to_thread
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkstream import End, OffsetGone, Status, StreamGone, StreamNotFound
from inkstream.client import Answer, AsyncReader, PostUncertain, Reader, RequestRefused, Unreachable
from inkstream.client._backoff import retry_after
from inkstream.client._collected import Collected
from inkstream.client._events import EventParser
from inkstream.client._reading import Reading

FIRST, SECOND = "0000000007_000000001_q83v", "0000000007_000000002_q83v"
LAST = f"{SECOND}.end"
EVENTS = {"content-type": "text/event-stream"}
END: dict[str, Any] = {"status": "done", "code": None, "message": None, "result": {"tokens": 2}}


def event(offset: str, value: Any, kind: str = "") -> bytes:
    name = f"event: {kind}\n" if kind else ""
    return f"{name}id: {offset}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


BODY = b"retry: 200\n: ping\n\n" + b"".join(
    [event(FIRST, "Grü\u2028ße\0\r\n"), event(SECOND, {"type": "tool"}), event(LAST, END, "end")]
)
ITEMS = ["Grü\u2028ße\0\r\n", {"type": "tool"}, End(Status.DONE, result={"tokens": 2})]


def problem(code: str) -> bytes:
    return json.dumps({"code": code, "detail": "in words"}).encode()


@given(st.lists(st.integers(0, len(BODY)), max_size=8))
def test_any_chunking_gives_the_same(cuts: list[int]) -> None:
    """G2, G11: the items do not depend on where the network cuts the bytes into chunks."""
    reading = Reading("/s", None, 300)
    reading.headers()
    edges = [0, *sorted(cuts), len(BODY)]
    pieces = [BODY[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    assert [item for piece in pieces for item in reading.take(piece)] == ITEMS
    assert reading.offset == LAST


@given(st.integers(0, len(BODY) - 1))
def test_a_cut_anywhere_continues_after_the_last_item(cut: int) -> None:
    """G2: the id of an incomplete event must not count, or a reconnect would skip that event."""
    reading = Reading("/s", None, 300)
    reading.headers()
    given_items = list(reading.take(BODY[:cut]))
    reading.broke("cut")
    assert 0 <= reading.backoff.pause() <= 5
    asked = reading.headers().get("last-event-id")
    start = 0 if asked is None else BODY.index(f"id: {asked}\n".encode())
    rest = BODY[start:].partition(b"\n\n")[2] if asked else BODY
    assert given_items + list(reading.take(rest)) == ITEMS


@pytest.mark.parametrize("ends", [b"\r", b"\r\n"])
def test_other_line_ends(ends: bytes) -> None:
    reading = Reading("/s", None, 300)
    reading.headers()
    body = BODY.replace(b"\n", ends) + b"\n"
    assert [item for byte in body for item in reading.take(bytes([byte]))] == ITEMS


def test_a_long_line_is_searched_once() -> None:
    parser = EventParser()
    line = b"id: 1\ndata: " + json.dumps("x" * 4_000_000).encode() + b"\n\n"
    events = [e for at in range(0, len(line), 1000) for e in parser.feed(line[at : at + 1000])]
    assert len(events) == 1


def test_the_tail_of_a_log_has_an_id_and_no_item() -> None:
    reading = Reading("/s", "now", None)
    reading.headers()
    assert list(reading.take(f"id: {SECOND}\n\n".encode())) == []
    assert reading.headers()["last-event-id"] == SECOND


def test_leaving_a_batch_early_loses_nothing() -> None:
    """G2: the reader's offset does not pass items that were received but not returned yet."""
    reading = Reading("/s", None, 300)
    reading.headers()
    items = reading.take(BODY)
    assert next(items) == ITEMS[0]
    items.close()
    assert reading.headers()["last-event-id"] == FIRST


def test_204_reads_the_end() -> None:
    reading = Reading("/s", LAST, 300)
    reading.headers()
    reading.refuse(204, {}, b"")
    assert reading.headers()["accept"] == "application/json"
    assert reading.accepts(200, {"content-type": "application/json"})
    snapshot: dict[str, Any] = {"offset": LAST, "parts": [], **END}
    assert list(reading.take(json.dumps(snapshot).encode())) == []
    assert list(reading.finish()) == [ITEMS[2]]


@pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504])
def test_temporary_errors_are_retried(status: int) -> None:
    reading = Reading("/s", None, 300)
    reading.headers()
    assert not reading.accepts(status, EVENTS)
    reading.refuse(status, {"retry-after": "7"}, problem("too_many_readers"))
    assert 6.9 <= reading.backoff.pause() <= 8


@pytest.mark.parametrize(
    ("status", "code", "offset", "error"),
    [
        (404, "not_found", FIRST, StreamNotFound),
        (410, "offset_gone", FIRST, OffsetGone),
        (410, "gone", None, StreamGone),
        (400, "invalid_offset", "nonsense", RequestRefused),
        (401, "login", None, RequestRefused),
        (403, "cross_site", None, RequestRefused),
        (500, "internal", None, RequestRefused),
    ],
)
def test_permanent_errors_raise(
    status: int, code: str, offset: str | None, error: type[Exception]
) -> None:
    """G10: the reader raises if a retry cannot change the refusal."""
    reading = Reading("/s", offset, 300)
    reading.headers()
    with pytest.raises(error):
        reading.refuse(status, {}, problem(code))


def test_a_login_page_is_not_a_stream() -> None:
    reading = Reading("/s", None, 300)
    assert not reading.accepts(200, {"content-type": "text/html"})
    with pytest.raises(RequestRefused, match="unexpected_content"):
        reading.refuse(200, {}, b"<form>")


def test_a_json_log_may_contain_any_json() -> None:
    """A client of the Durable Streams protocol may append values that are not objects."""
    values: list[Any] = ["a", 1, None, [2, {"x": 3}], True, {"o": 1}]
    offsets = [f"0000000007_{n:09}_q83v" for n in range(1, len(values) + 1)]
    events = [event(offset, value) for offset, value in zip(offsets, values, strict=True)]
    reading, items = after(None, b"".join(events) + event(f"{offsets[-1]}.end", END, "end"))
    assert (items, reading.offset) == ([*values, ITEMS[2]], f"{offsets[-1]}.end")
    collected = Collected()
    for item in items:
        collected.take(item)
    assert collected.answer(None).parts == tuple(values)


def test_an_event_without_a_message_raises() -> None:
    reading = Reading("/s", None, 300)
    reading.headers()
    with pytest.raises(RequestRefused, match="invalid_event"):
        list(reading.take(b"id: %b\ndata: not json\n\n" % FIRST.encode()))


def test_patience_ends() -> None:
    reading = Reading("/s", None, 0)
    reading.headers()
    reading.broke("cut")
    with pytest.raises(Unreachable, match=r"sent nothing for 0 s \(last: cut\)"):
        reading.backoff.pause()


def test_a_longer_wait_than_the_patience_raises_at_once() -> None:
    """The error says how long the server asks the reader to wait."""
    reading = Reading("/s", None, 5)
    reading.headers()
    reading.refuse(503, {"retry-after": "60"}, b"")
    with pytest.raises(Unreachable, match=r"nothing for 0 s and asks for a wait of 60 s .*503"):
        reading.backoff.pause()


@pytest.mark.parametrize(("asked", "wait_s"), [("60", 60), ("9" * 400, 1e9)])
def test_endless_patience_waits_as_long_as_the_server_asks(asked: str, wait_s: float) -> None:
    reading = Reading("/s", None, None)
    reading.refuse(503, {"retry-after": asked}, b"")
    assert wait_s - 0.1 <= reading.backoff.pause() <= wait_s + 5


def after(offset: str | None, body: bytes) -> tuple[Reading, list[Any]]:
    """Return a reader that asked for ``offset`` and got ``body``, and the items in ``body``."""
    reading = Reading("/s", offset, 300)
    reading.headers()
    return reading, list(reading.take(body))


def test_the_offset_is_in_the_address_and_in_a_header() -> None:
    """G2: the reader continues if a proxy drops the offset from the address or from the header."""
    reading = Reading("/s?tenant=a", None, 300)
    assert reading.address() == "/s?tenant=a"
    reading.offset = FIRST
    assert reading.address() == f"/s?tenant=a&offset={FIRST}"
    assert reading.headers()["last-event-id"] == FIRST


def test_a_message_that_was_seen_before_is_dropped() -> None:
    """G2: if a server or proxy ignores the offset and sends text again, the reader drops it."""
    reading, items = after(FIRST, BODY)
    assert (items, reading.offset) == (ITEMS[1:], LAST)
    assert after(LAST, BODY)[1] == ITEMS[2:]


def test_a_snapshot_that_was_seen_before_is_dropped() -> None:
    """G2: from a snapshot after a 204, the reader returns no message a second time."""
    reading = Reading("/s", LAST, 300)
    reading.refuse(204, {}, b"")
    reading.headers()
    snapshot: dict[str, Any] = {"offset": LAST, "parts": ITEMS[:2], **END}
    assert list(reading.take(json.dumps(snapshot).encode())) == []
    assert list(reading.finish()) == ITEMS[2:]


@pytest.mark.parametrize(
    ("offset", "body"),
    [
        (None, event(LAST, END, "end")),
        ("-1", event(LAST, END, "end")),
        (FIRST, event(LAST, END, "end")),
        (None, event(FIRST, "Hi ") + event(LAST, END, "end")),
    ],
)
def test_an_end_that_skips_messages_is_not_the_end(offset: str | None, body: bytes) -> None:
    """G5: the reader asks again from its offset, and raises if the messages are missing again."""
    reading = Reading("/s", offset, 300)
    reading.headers()
    with pytest.raises(httpx.RemoteProtocolError, match="does not follow"):
        list(reading.take(body))
    assert not reading.over()
    reading.headers()
    with pytest.raises(RequestRefused, match="invalid_event"):
        list(reading.take(event(LAST, END, "end")))


def test_an_end_without_messages() -> None:
    empty = "0000000007_000000000_AAAA"
    assert after(None, event(f"{empty}.end", END, "end"))[1] == ITEMS[2:]
    assert after("now", f"id: {SECOND}\n\n".encode() + event(LAST, END, "end"))[1] == ITEMS[2:]


def test_events_of_another_stream() -> None:
    """G2: the text of two streams never becomes one text."""
    other = "0000000008_000000003_q83v"
    with pytest.raises(OffsetGone):
        after(FIRST, event(other, "new"))
    with pytest.raises(OffsetGone):
        after(SECOND, event(f"{other}.end", END, "end"))
    with pytest.raises(RequestRefused, match="another stream"):
        after(None, event(FIRST, "Hi ") + event(other, "new"))


def test_nothing_comes_after_the_end() -> None:
    """G5: a second end, or text after the end, is not a part of the stream."""
    late = event("0000000007_000000003_q83v", "late")
    assert after(None, BODY + event(LAST, END, "end") + late)[1] == ITEMS


def test_an_unknown_kind_of_event_is_skipped() -> None:
    unknown = event("0000000007_000000009_q83v", ["?"], "weather") + b"event: x\ndata: y\n\n"
    assert after(None, unknown + BODY)[1] == ITEMS


@pytest.mark.parametrize("lines", [b"", b"id\n", b"id: \n"])
def test_an_event_without_an_id_raises(lines: bytes) -> None:
    """G2: without an id, the reader cannot know whether it has already returned the message."""
    with pytest.raises(RequestRefused, match="no id"):
        after(None, event(FIRST, "Hi ") + lines + b'data: "you"\n\n')


async def read(kind: str, answer: Callable[[httpx.Request], httpx.Response]) -> Answer:
    transport = httpx.MockTransport(answer)
    if kind == "async":
        async with httpx.AsyncClient(base_url="http://test", transport=transport) as http:
            return await AsyncReader(http, "/s").read()
    with httpx.Client(base_url="http://test", transport=transport) as client:
        return await anyio.to_thread.run_sync(Reader(client, "/s").read)


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_server_that_ignores_offsets(kind: str) -> None:
    """G2: after a cut, the server sends the whole text again, and the reader doubles nothing."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        body = BODY if len(requests) > 1 else BODY[: BODY.index(f"id: {SECOND}\n".encode())]
        return httpx.Response(200, headers=EVENTS, content=body)

    assert (await read(kind, answer)).parts == tuple(ITEMS[:2])
    assert [request.url.params.get("offset") for request in requests] == [None, FIRST]


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_lossy_server(kind: str) -> None:
    """G5: if messages before the end are missing, the reader gets them with a second request."""
    bodies = [event(LAST, END, "end"), BODY]

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=EVENTS, content=b"retry: 0\n" + bodies.pop(0))

    assert (await read(kind, answer)).parts == tuple(ITEMS[:2])


class Hanging(httpx.AsyncByteStream):
    """A body that begins with ``data`` and never ends."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.data:
            yield self.data
        await asyncio.Event().wait()


async def test_a_wait_that_times_out_loses_nothing() -> None:
    """G2: after a timeout of ``anext``, the same iterator goes on with the next item."""
    first = event(FIRST, ITEMS[0])
    offsets: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        offsets.append(request.url.params.get("offset"))
        match offsets:
            case [_]:
                return httpx.Response(200, headers=EVENTS, stream=Hanging(first))
            case [_, _]:
                return httpx.Response(200, headers=EVENTS, stream=Hanging())
        return httpx.Response(200, headers=EVENTS, content=BODY.replace(first, b""))

    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(base_url="http://test", transport=transport) as http:
        items = aiter(AsyncReader(http, "/s"))
        assert await anext(items) == ITEMS[0]
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(items), 0.05)
        assert [item async for item in items] == ITEMS[1:]
        assert offsets == [None, FIRST, FIRST]


async def test_a_post_whose_wait_times_out_is_not_repeated() -> None:
    """G4: the server may have received the POST, so the next ``anext`` raises."""
    requests: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        await asyncio.Event().wait()
        raise AssertionError

    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(base_url="http://test", transport=transport) as http:
        items = aiter(AsyncReader.post(http, "/ask", streams_url="/streams"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(items), 0.05)
        with pytest.raises(PostUncertain):
            await anext(items)
    assert len(requests) == 1


def test_a_wait_for_the_server_is_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second ``pause`` goes on with the wait that the first ``pause`` began.

    Otherwise a caller with a short timeout would never make the next request.
    """
    reading = Reading("/s", None, 300)
    reading.headers()
    reading.refuse(503, {"retry-after": "7"}, b"")
    wait_s = reading.backoff.pause()
    now = time.monotonic()
    monkeypatch.setattr("inkstream.client._backoff.time.monotonic", lambda: now + 5)
    assert reading.backoff.pause() <= wait_s - 4.9
    monkeypatch.setattr("inkstream.client._backoff.time.monotonic", lambda: now + 9)
    assert reading.backoff.pause() == 0
    reading.headers()
    reading.refuse(503, {"retry-after": "7"}, b"")
    assert reading.backoff.pause() >= 6.9


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_read_that_failed_can_be_repeated(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G2: the second ``read`` returns all messages, also those that the first ``read`` received."""
    monkeypatch.setattr("inkstream.client._backoff._LONGEST_S", 0.0)
    answers = [
        httpx.Response(200, headers=EVENTS, content=event(FIRST, ITEMS[0])),
        httpx.Response(401),
        httpx.Response(200, headers=EVENTS, content=BODY),
    ]
    offsets: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        offsets.append(request.url.params.get("offset"))
        return answers.pop(0)

    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(base_url="http://test", transport=transport) as http:
        with httpx.Client(base_url="http://test", transport=transport) as client:
            sync = Reader(client, "/s")
            read = (
                AsyncReader(http, "/s").read
                if kind == "async"
                else partial(anyio.to_thread.run_sync, sync.read)
            )
            with pytest.raises(RequestRefused):
                await read()
            assert (await read()).parts == tuple(ITEMS[:2])
    assert offsets == [None, FIRST, None]


@pytest.mark.parametrize(
    ("value", "least_s"),
    [
        ("Fri, 31 Dec 2100 23:59:59 GMT", 1e9),
        ("Thu, 26 Nov 2020 20:00:00 GMT", 0),
        ("Foo, 99 Bar 2026", 0),
        ("-1", 0),
        ("", 0),
    ],
)
def test_a_server_may_ask_to_wait_until_a_date(value: str, least_s: float) -> None:
    assert retry_after({"retry-after": value}) == least_s


def posting() -> Reading:
    reading = Reading("/ask", None, 300, streams_url="/streams", body={"prompt": "why?"})
    reading.headers()
    return reading


def test_a_post_goes_on_as_the_stream_that_its_answer_names() -> None:
    """G2: after a cut, the reader requests the stream that the response to its POST named."""
    reading = posting()
    assert (reading.method, reading.url) == ("POST", "/ask")
    assert reading.accepts(200, EVENTS | {"stream-id": "a/b"})
    assert list(reading.take(BODY[: BODY.index(f"id: {SECOND}\n".encode())])) == ITEMS[:1]
    reading.broke("cut")
    assert (reading.method, reading.url, reading.body) == ("GET", "/streams/a%2Fb", None)
    assert reading.headers()["last-event-id"] == FIRST


@pytest.mark.parametrize("status", [429, 503])
def test_a_post_that_was_not_taken_is_made_again(status: int) -> None:
    reading = posting()
    reading.refuse(status, {"retry-after": "2"}, problem("too_many_streams"))
    assert 1.9 <= reading.backoff.pause() <= 3
    assert reading.method == "POST"
    reading.broke("no connection", unsent=True)
    assert reading.method == "POST"


@pytest.mark.parametrize("status", [202, 204, 400, 404, 410, 500, 502, 504])
def test_a_post_that_may_have_been_taken_raises(status: int) -> None:
    """G4: the reader raises, and does not repeat a POST that the server may have received."""
    reading = posting()
    assert not reading.accepts(status, {"content-type": "application/json"})
    with pytest.raises(RequestRefused, match=str(status)):
        reading.refuse(status, {}, b"{}")
    with pytest.raises(PostUncertain):
        reading.broke("the connection ended")


def test_a_post_with_an_unknown_outcome_is_not_repeated() -> None:
    """G4: the code ``outcome_unknown`` says that the server may have stored the POST's change."""
    with pytest.raises(PostUncertain, match="outcome_unknown"):
        posting().refuse(503, {}, problem("outcome_unknown"))


def test_an_answer_that_names_no_stream_is_refused() -> None:
    with pytest.raises(RequestRefused, match="Stream-Id"):
        posting().accepts(200, EVENTS)
