"""A reader's state machine handles responses and cuts, without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkstream import End, OffsetGone, Status, StreamGone, StreamNotFound
from inkstream.client import PostUncertain, RequestRefused, Unreachable
from inkstream.client._events import EventParser
from inkstream.client._reading import Reading

EVENTS = {"content-type": "text/event-stream"}
END: dict[str, Any] = {"status": "done", "code": None, "message": None, "result": {"tokens": 2}}


def event(offset: str, value: Any, kind: str = "") -> bytes:
    name = f"event: {kind}\n" if kind else ""
    return f"{name}id: {offset}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


BODY = b"retry: 200\n: ping\n\n" + b"".join(
    [event("a1", "Grü\u2028ße\0\r\n"), event("a2", {"type": "tool"}), event("a2.end", END, "end")]
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
    assert reading.offset == "a2.end"


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
    assert list(reading.take(b"id: a7\n\n")) == []
    assert reading.headers()["last-event-id"] == "a7"


def test_leaving_a_batch_early_loses_nothing() -> None:
    """G2: the reader's offset moves with each item that it returns, and not with received bytes."""
    reading = Reading("/s", None, 300)
    reading.headers()
    items = reading.take(BODY)
    assert next(items) == ITEMS[0]
    items.close()
    assert reading.headers()["last-event-id"] == "a1"


def test_204_reads_the_end() -> None:
    reading = Reading("/s", "a2.end", 300)
    reading.headers()
    reading.refuse(204, {}, b"")
    assert reading.headers()["accept"] == "application/json"
    assert reading.accepts(200, {"content-type": "application/json"})
    snapshot: dict[str, Any] = {"offset": "a2.end", "parts": [], **END}
    assert list(reading.take(json.dumps(snapshot).encode())) == []
    assert list(reading.finish()) == [ITEMS[2]]


@pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504])
def test_temporary_errors_are_retried(status: int) -> None:
    reading = Reading("/s", None, 300)
    reading.headers()
    assert not reading.accepts(status, EVENTS)
    reading.refuse(status, {"retry-after": "7"}, problem("too_many_readers"))
    assert 7 <= reading.backoff.pause() <= 8


@pytest.mark.parametrize(
    ("status", "code", "offset", "error"),
    [
        (404, "not_found", "a1", StreamNotFound),
        (410, "offset_gone", "a1", OffsetGone),
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


def test_an_event_without_a_message_raises() -> None:
    reading = Reading("/s", None, 300)
    reading.headers()
    with pytest.raises(RequestRefused, match="invalid_event"):
        list(reading.take(b"data: not json\n\n"))


def test_patience_ends() -> None:
    reading = Reading("/s", None, 5)
    reading.headers()
    reading.refuse(503, {"retry-after": "60"}, b"")
    with pytest.raises(Unreachable, match="503"):
        reading.backoff.pause()
    reading = Reading("/s", None, None)
    reading.refuse(503, {"retry-after": "60"}, b"")
    assert reading.backoff.pause() >= 60


def posting() -> Reading:
    reading = Reading("/ask", None, 300, streams_url="/streams", body={"prompt": "why?"})
    reading.headers()
    return reading


def test_a_post_goes_on_as_the_stream_that_its_answer_names() -> None:
    """G2: after a cut, the reader requests the stream that the response to its POST named."""
    reading = posting()
    assert (reading.method, reading.url) == ("POST", "/ask")
    assert reading.accepts(200, EVENTS | {"stream-id": "a/b"})
    assert list(reading.take(BODY[: BODY.index(b"id: a2\n")])) == ITEMS[:1]
    reading.broke("cut")
    assert (reading.method, reading.url, reading.body) == ("GET", "/streams/a%2Fb", None)
    assert reading.headers()["last-event-id"] == "a1"


@pytest.mark.parametrize("status", [429, 503])
def test_a_post_that_was_not_taken_is_made_again(status: int) -> None:
    reading = posting()
    reading.refuse(status, {"retry-after": "2"}, problem("too_many_streams"))
    assert 2 <= reading.backoff.pause() <= 3
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
