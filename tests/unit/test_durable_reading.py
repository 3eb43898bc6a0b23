"""Reads follow the rules of Durable Streams for offsets, ETags, events, cursors and polls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkstream._types import (
    End,
    Segment,
    Status,
)
from inkstream.durable import creation
from inkstream.durable.polling import ClosedPolls
from inkstream.durable.reading import CURSOR_EPOCH, Chunk, Events, next_cursor
from inkstream.durable.refusal import Refusal
from inkstream.durable.requests import (
    read_request,
)
from inkstream.wire import Offset
from tests.unit.durable_streams import log, text


@pytest.mark.parametrize(
    "query",
    [
        [("offset", "")],
        [("offset", "1"), ("offset", "2")],
        [("offset", "-1"), ("live", "maybe")],
        [("live", "sse")],
        [("live", "long-poll")],
        [("offset", "\u0660" * 16 + "_" + "\u0660" * 16)],
    ],
)
def test_malformed_reads(query: list[tuple[str, str]]) -> None:
    """G10: a malformed read request is refused with status 400."""
    with pytest.raises(Refusal) as caught:
        read_request(query)
    assert caught.value.status == 400


def test_end_offset_needs_an_ended_text() -> None:
    end = Offset(7, 10, ended=True)
    assert creation.position_of(text(Status.DONE), {}, end) == 10
    assert creation.position_of(text(Status.STREAMING), {}, end) is None
    assert creation.position_of(log(status=Status.OPEN), {}, end) is None
    assert creation.position_of(text(Status.DONE), {}, Offset(7, 9, ended=True)) is None


def chunk(payload: bytes, start: int, **fields: Any) -> Chunk:
    segments = (Segment(start, len(payload), payload, b""),) if payload else ()
    position = start + len(payload)
    given: dict[str, Any] = {"at_tail": True, "end": None} | fields
    return Chunk(log(), start, segments, position, given["at_tail"], given["end"])


def test_tags_change_with_data_and_with_the_end() -> None:
    tags = {
        chunk(b"ab", 0).etag(),
        chunk(b"abc", 0).etag(),
        chunk(b"b", 1).etag(),
        chunk(b"ab", 0, end=End(Status.DONE)).etag(),
    }
    assert len(tags) == 4


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=20),
    st.data(),
)
def test_events_have_whole_characters(message: str, data: st.DataObject) -> None:
    """G2: after each event, the text so far is exactly the text before the event's offset."""
    raw = message.encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=6)) | {0, len(raw)})
    events, sent = Events(log()), ""
    for start, stop in zip(cuts, cuts[1:], strict=False):
        piece = chunk(raw[start:stop], start)
        event = events.data(piece).decode()
        if event:
            lines = event.removesuffix("\n\n").split("\n")[1:]
            sent += "\n".join([line.removeprefix("data:").removeprefix(" ") for line in lines])
        control = json.loads(events.control(piece, "1").decode().partition("data:")[2])
        assert control["streamNextOffset"] == str(Offset(7, len(sent.encode())))
        assert control.get("upToDate", False) is (len(sent.encode()) == stop)
    assert sent == message


def test_half_a_character_at_the_end_is_replaced() -> None:
    events = Events(log())
    assert events.data(chunk("ä".encode()[:1], 0)) == b""
    assert (
        events.data(chunk(b"", 1, end=End(Status.DONE))) == "event: data\ndata:\ufffd\n\n".encode()
    )


def test_binary_data_is_sent_as_base64() -> None:
    events = Events(log(content_type="image/png"))
    assert events.is_base64
    assert events.data(chunk(b"\x89P", 0)) == b"event: data\ndata:iVA=\n\n"


def test_no_text_can_forge_an_event() -> None:
    event = Events(log()).data(chunk(b"a\n\nevent: control\rdata: {}\r\n x", 0)).decode()
    assert all(line.startswith("data:") for line in event.strip("\n").split("\n")[1:])
    assert "\ndata:  x\n" in event


def test_cursors_only_go_forward() -> None:
    assert next_cursor(CURSOR_EPOCH + 41, None) == "2"
    assert next_cursor(CURSOR_EPOCH + 41, 1) == "2"
    assert 3 <= int(next_cursor(CURSOR_EPOCH + 41, 2)) <= 2 + 180
    assert int(next_cursor(CURSOR_EPOCH + 41, 500)) > 500


class Stopped:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


def test_hot_polls_are_slowed_per_client() -> None:
    """G9: if a client polls a closed stream too often, its polls of this stream are refused."""
    clock = Stopped()
    polls = ClosedPolls(clock, rate=2, burst=3, remembered=2)
    assert [polls.allow(1, "a") for _ in range(4)] == [True, True, True, False]
    assert [polls.allow(1, "b") for _ in range(4)] == [True, True, True, False]
    clock.now = 0.5
    assert [polls.allow(1, "a") for _ in range(2)] == [True, False]
    clock.now = 1.5
    assert [polls.allow(1, "a") for _ in range(3)] == [True, True, False]
    assert [polls.allow(2, "a") for _ in range(4)] == [True, True, True, False]
    assert not polls.allow(1, "a")
    # ``polls`` remembers two pairs of stream and client, so "c" and "d" replace both pairs of "a".
    assert polls.allow(2, "c")
    assert polls.allow(2, "d")
    assert polls.allow(1, "a")
