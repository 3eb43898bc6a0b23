"""Encoded offsets, messages, segments and events are decoded without loss."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from inkstream import wire
from inkstream._errors import InvalidMessage, InvalidOffset
from inkstream._runs import Run, Runs
from inkstream._types import End, Segment, Status
from inkstream.wire import RawJSON
from inkstream.wire._segments import _put_number

scalars = st.characters(exclude_categories=["Cs"])
awkward = st.sampled_from(["\x00", "\r\n", "\r", "\n", "👩", "\u2028", '"', "\\", " ", "data:"])
texts = st.text(scalars | awkward.filter(lambda text: len(text) == 1)) | awkward
any_texts = st.text(st.characters() | st.sampled_from(["\ud83d", "\udc69"]))
objects = st.sampled_from(
    [b"{}", b'{"a":1.0}', b'{"a":\r\n[1,\r2,\n3]}', b"[]", b"null", b'"json text"', b"  1  "]
).map(RawJSON)
message_lists = st.lists(texts | objects, max_size=12)
positions = st.integers(0, 2**45 - 1)
generations = st.integers(0, 2**24 - 1)


RUNS: Runs = (Run(0, 5),)


def event_frames(internal_id: int, segment: Segment) -> bytes:
    return wire.event_frames(wire.offset_start(internal_id), RUNS, segment)


def text_joined(messages: Iterable[str | RawJSON]) -> list[str | RawJSON]:
    parts: list[str | RawJSON] = []
    for message in messages:
        last = parts[-1] if parts else None
        if isinstance(message, str) and isinstance(last, str):
            parts[-1] = last + message
        else:
            parts.append(message)
    return parts


def segment_of(*messages: str | RawJSON, position: int = 0) -> Segment:
    """Return a segment with one message per argument, and do not join text."""
    parts = [part for message in messages for part in wire.encode_messages([message], 0)]
    assert len(parts) == len(messages)
    return Segment(
        position,
        len(parts),
        b"".join(part.payload for part in parts),
        b"".join(part.index for part in parts),
    )


class TestOffset:
    """G10: every offset that the library wrote can be read, and a malformed string is refused."""

    @given(st.integers(1, 2**50 - 1), positions, st.booleans(), generations)
    def test_round_trip(
        self, internal_id: int, position: int, ended: bool, generation: int
    ) -> None:
        offset = wire.Offset(internal_id, position, ended, generation)
        assert len(str(offset)) == 25 + 4 * ended
        assert wire.Offset.parse(str(offset)) == offset
        assert not offset.is_start

    @given(st.integers(1, 2**50 - 1), positions, positions, generations, generations)
    def test_sorts_as_text(
        self, internal_id: int, one: int, two: int, before: int, after: int
    ) -> None:
        assume(one != two)
        first = wire.Offset(internal_id, one, generation=before)
        second = wire.Offset(internal_id, two, generation=after)
        assert (str(first) < str(second)) is (one < two)
        assert str(first) < str(wire.Offset(internal_id, one, True, before))

    def test_the_start(self) -> None:
        assert wire.Offset.parse("-1").is_start
        assert wire.Offset.parse("-1").position == 0
        assert str(wire.START) == "-1"

    def test_the_shape(self) -> None:
        """Every implementation writes an offset in this form (docs/decisions/0014)."""
        offset = wire.Offset(7, 33, generation=0xFFFFFE)
        assert str(offset) == "0000000007_000000011____-"
        assert str(wire.Offset(1023, 0)) == "00000000VV_000000000_AAAA"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "0",
            "-2",
            "now",
            "1_1",
            f"{1:016d}_{1:016d}",
            f"{1:010d}_{1:09d}",
            f"{1:010d}_{1:08d}_AAAA",
            f"{1:010d}_{1:010d}_AAAA",
            f"{1:010d}_{1:09d}_AAA",
            f"{1:010d}_{1:09d}_AA+A",
            f"{1:010d}_{1:09d}_AAAA.END",
            f"{1:010d}_{1:09d}_AAAA\n",
            f"{1:010d}_{1:09d}_AAAA~t1",
            f" {1:010d}_{1:09d}_AAAA",
            f"{0:010d}_{1:09d}_AAAA",
            f"{0:010d}_{0:09d}_AAAA",
            "000000000v_000000001_AAAA",
            "000000000W_000000001_AAAA",
            "٠" * 10 + "_" + "٠" * 9 + "_AAAA",
        ],
    )
    def test_malformed(self, text: str) -> None:
        with pytest.raises(InvalidOffset) as caught:
            wire.Offset.parse(text)
        assert caught.value.value == text


class TestText:
    """G11: Unicode scalar values come back unchanged. Surrogates are joined or replaced."""

    @given(texts)
    def test_scalars_are_left_alone(self, text: str) -> None:
        assert wire.clean_text(text) == text

    @given(any_texts)
    @example("\ud83d")
    @example("\udc69\ud83d")
    @example("a\ud83db")
    def test_halves_are_joined_or_replaced(self, text: str) -> None:
        clean = wire.clean_text(text)
        clean.encode()
        expected, n = [], 0
        while n < len(text):
            first, second = text[n], text[n + 1 : n + 2]
            if "\ud800" <= first <= "\udbff" and "\udc00" <= second <= "\udfff":
                high, low = ord(first) - 0xD800, ord(second) - 0xDC00
                expected.append(chr(0x10000 + (high << 10) + low))
                n += 2
            else:
                expected.append("\ufffd" if "\ud800" <= first <= "\udfff" else first)
                n += 1
        assert clean == "".join(expected)

    def test_halves_that_arrive_in_two_pieces(self) -> None:
        segments = wire.encode_messages(["a\ud83d", "\udc69b"], 0)
        assert list(wire.decode_messages(segments)) == ["a👩b"]

    def test_halves_with_an_object_between_stay_apart(self) -> None:
        segments = wire.encode_messages(["\ud83d", RawJSON(b"{}"), "\udc69"], 0)
        assert list(wire.decode_messages(segments)) == ["\ufffd", RawJSON(b"{}"), "\ufffd"]


class TestJSON:
    @pytest.mark.parametrize(
        "value", [float("nan"), float("inf"), object(), {"a": {1, 2}}, b"bytes", {("a",): 1}]
    )
    def test_invalid_json_values(self, value: Any) -> None:
        with pytest.raises(InvalidMessage):
            wire.dump_json(value)

    def test_nested_without_end(self) -> None:
        value: list[Any] = []
        value.append(value)
        with pytest.raises(InvalidMessage):
            wire.dump_json(value)

    @given(st.recursive(st.none() | st.booleans() | st.integers() | texts, st.lists))
    def test_round_trip(self, value: Any) -> None:
        raw = wire.dump_json(value)
        assert wire.load_json(raw) == value
        assert b"\n" not in raw

    def test_a_lone_surrogate_is_replaced(self) -> None:
        assert wire.dump_json({"a": "\ud83d"}) == '{"a":"\ufffd"}'.encode()


class TestSegments:
    """G2, G11: messages stay the same, in whatever way the messages are cut into segments."""

    @given(message_lists, positions)
    def test_round_trip(self, messages: list[str | RawJSON], position: int) -> None:
        segments = wire.encode_messages(messages, position)
        expected = [part for part in text_joined(messages) if part != ""]
        decoded = list(wire.decode_messages(segments))
        assert decoded == expected
        for first, second in pairwise(decoded):
            assert not (isinstance(first, str) and isinstance(second, str)), (
                "adjacent text is not joined"
            )
        assert sum(segment.count for segment in segments) == len(expected)
        if segments:
            assert segments[0].position == position
        for before, after in pairwise(segments):
            assert before.end == after.position

    @given(st.lists(any_texts, max_size=6))
    def test_any_chunking_gives_the_same_text(self, pieces: list[str]) -> None:
        whole = wire.clean_text("".join(pieces))
        decoded = list(wire.decode_messages(wire.encode_messages(pieces, 0)))
        assert "".join(part for part in decoded if isinstance(part, str)) == whole

    @given(
        st.lists(
            st.tuples(st.sampled_from(["a", "é", "☃", "👩"]), st.integers(0, 50_000))
            | st.integers(1, 100_000),
            max_size=5,
        )
    )
    def test_no_segment_is_too_large(self, plan: list[tuple[str, int] | int]) -> None:
        messages: list[str | RawJSON] = [
            RawJSON(b'"%b"' % (b"x" * entry)) if isinstance(entry, int) else entry[0] * entry[1]
            for entry in plan
        ]
        segments = wire.encode_messages(messages, 0)
        for segment in segments:
            assert len(segment.payload) <= wire.SEGMENT_BYTES or segment.count == 1
            for length, is_json in wire.index_entries(segment.index):
                assert is_json or length <= wire.SEGMENT_BYTES
        decoded = list(text_joined(wire.decode_messages(segments)))
        assert decoded == [part for part in text_joined(messages) if part != ""]

    def test_text_of_exactly_a_segment(self) -> None:
        (segment,) = wire.encode_messages(["x" * wire.SEGMENT_BYTES], 0)
        assert segment.count == 1
        first, second = wire.encode_messages(["x" * (wire.SEGMENT_BYTES + 1)], 0)
        assert (len(first.payload), len(second.payload)) == (wire.SEGMENT_BYTES, 1)

    @given(st.lists(texts.filter(bool) | objects, min_size=1, max_size=8), st.data())
    def test_cut(self, messages: list[str | RawJSON], data: st.DataObject) -> None:
        segment = segment_of(*messages, position=100)
        after = data.draw(st.integers(95, 110))
        until = data.draw(st.none() | st.integers(95, 110))
        part = wire.cut(segment, after, until)
        start = max(after - 100, 0)
        stop = len(messages) if until is None else max(until - 100, 0)
        expected = messages[start:stop]
        if part is None:
            assert expected == []
        else:
            assert list(wire.decode_messages([part])) == expected
            assert (part.position, part.count) == (100 + start, len(expected))

    @given(st.binary(min_size=1, max_size=20), st.integers(0, 30), st.none() | st.integers(0, 30))
    def test_cut_of_bytes(self, payload: bytes, after: int, until: int | None) -> None:
        part = wire.cut(Segment(5, len(payload), payload, b""), after, until)
        start = max(after - 5, 0)
        expected = payload[start : None if until is None else max(until - 5, 0)]
        if part is None:
            assert expected == b""
        else:
            assert (part.payload, part.position) == (expected, 5 + start)
            assert (part.count, part.index) == (len(expected), b"")

    @given(
        st.lists(
            st.lists(texts.filter(bool) | objects, min_size=1, max_size=4)
            | st.integers(1, 40_000).map(lambda size: ["x" * size]),
            max_size=8,
        )
    )
    def test_merge(self, batches: list[list[str | RawJSON]]) -> None:
        segments: list[Segment] = []
        for messages in batches:
            position = segments[-1].end if segments else 7
            segments.append(segment_of(*messages, position=position))
        merged = wire.merge(segments)
        assert list(wire.decode_messages(merged)) == list(wire.decode_messages(segments))
        assert [segment.position for segment in merged[:1]] == [s.position for s in segments[:1]]
        for before, after in pairwise(merged):
            assert before.end == after.position
            assert len(before.payload) + len(after.payload) > wire.SEGMENT_BYTES / 2
        assert all(len(segment.payload) <= wire.SEGMENT_BYTES for segment in merged)

    @given(st.lists(st.tuples(st.integers(0, 2**40), st.booleans()), max_size=6))
    def test_index(self, entries: list[tuple[int, bool]]) -> None:
        index = bytearray()
        for length, is_json in entries:
            _put_number(index, length << 1 | is_json)
        assert list(wire.index_entries(bytes(index))) == entries


def parse_events(raw: bytes) -> list[dict[str, str]]:
    """Parse events as a browser does, step by step (the WHATWG's HTML standard, 9.2.6)."""
    events: list[dict[str, str]] = []
    data: list[str] = []
    kind, last_id = "", ""
    stream = raw.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    for line in stream.split("\n")[:-1]:
        if not line:
            if data:
                events.append({"type": kind or "message", "data": "\n".join(data), "id": last_id})
            data, kind = [], ""
            continue
        name, colon, value = line.partition(":")
        if not name and colon:
            continue
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            last_id = value
    return events


@given(
    st.recursive(
        any_texts | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(any_texts, inner)
    )
)
def test_a_reader_gets_no_half_of_a_surrogate_pair(value: Any) -> None:
    """G11: escapes of half a pair, which a log's client may send, are U+FFFD for readers."""
    raw = json.dumps(value).encode()
    (message,) = wire.readable_messages([segment_of(RawJSON(raw))])
    got = message if isinstance(message, str) else json.loads(message.raw)
    assert got == json.loads(wire.clean_text(json.dumps(value, ensure_ascii=False)))


def test_escapes_that_only_look_like_halves_stay() -> None:
    raw = rb'{"a":"\\ud800 \ud83d\ude00 \\\udc00 \u0041","n":1.0}'
    (message,) = wire.readable_messages([segment_of(RawJSON(raw))])
    assert message == RawJSON(raw.replace(rb"\udc00", rb"\ufffd"))


class TestEvents:
    """G2, G11: a browser parses the frames into the stored messages, each with the right offset."""

    @given(st.lists(texts.filter(bool) | objects, min_size=1, max_size=10), st.integers(1, 10**9))
    def test_parsed_back(self, messages: list[str | RawJSON], internal_id: int) -> None:
        segment = segment_of(*messages, position=41)
        events = parse_events(wire.PING + event_frames(internal_id, segment))
        values = [json.loads(event["data"]) for event in events]
        messages = list(wire.readable_messages([segment]))  # a JSON string is a piece of text
        expected = [
            part if isinstance(part, str) else json.loads(part.raw)
            for part in text_joined(messages)
        ]
        assert values == expected
        place = 0
        for event, part in zip(events, text_joined(messages), strict=True):
            if isinstance(part, str):
                joined = ""
                while joined != part:
                    message = messages[place]
                    assert isinstance(message, str)
                    joined += message
                    place += 1
            else:
                place += 1
            assert event["type"] == "message"
            assert wire.Offset.parse(event["id"]) == wire.Offset(
                internal_id, 41 + place, generation=5
            )

    @given(st.lists(texts.filter(bool), min_size=1, max_size=10), st.data())
    def test_resumed_anywhere(self, messages: list[str], data: st.DataObject) -> None:
        """A client that resumes at any event's id gets exactly the text that it misses."""
        segment = segment_of(*messages)
        place = data.draw(st.integers(0, len(messages)))
        received = b""
        for part in (wire.cut(segment, 0, place), wire.cut(segment, place)):
            received += b"" if part is None else event_frames(7, part)
        text = "".join(json.loads(event["data"]) for event in parse_events(received))
        assert text == "".join(messages)

    def test_adjacent_text_is_one_event(self) -> None:
        frames = event_frames(7, segment_of("a", "b", RawJSON(b"{}"), "c"))
        assert [event["data"] for event in parse_events(frames)] == ['"ab"', "{}", '"c"']

    @given(texts, texts)
    def test_the_end(self, code: str, message: str) -> None:
        """G5: the terminal event contains the stream's end, and its id is the end's offset."""
        assume(code)
        end = End(Status.ERROR, code, message, {"a": [1, None]})
        (event,) = parse_events(wire.end_frame(wire.Offset(7, 3, ended=True), end))
        assert event["type"] == "end"
        assert wire.Offset.parse(event["id"]) == wire.Offset(7, 3, ended=True)
        assert json.loads(event["data"]) == {
            "status": "error",
            "code": code,
            "message": message,
            "result": {"a": [1, None]},
        }


@pytest.mark.parametrize("padding", [0, 5000])
@pytest.mark.parametrize("code", [*range(0x80), 0x85, 0x2028, 0xFFFF, 0x1F469])
def test_escaped_json_round_trip(code: int, padding: int) -> None:
    """G11: ``escape_text`` treats long and short texts differently. Both come back unchanged."""
    text = "ä" * padding + chr(code) + "."
    escaped = wire.escape_text(text.encode())
    assert json.loads(b'"%b"' % escaped) == text
    assert not set(escaped) & set(range(0x20)), "a line break would end an event"


def nested(depth: int) -> Any:
    value: Any = "[" * 500  # brackets inside text do not count as depth
    for _ in range(depth):
        value = [value]
    return value


def test_json_depth_limit_is_the_same_everywhere() -> None:
    assert json.loads(wire.dump_json(nested(wire.MAX_JSON_DEPTH))) == nested(wire.MAX_JSON_DEPTH)
    with pytest.raises(InvalidMessage, match="128 deep"):
        wire.dump_json(nested(wire.MAX_JSON_DEPTH + 1))
    with pytest.raises(InvalidMessage):
        wire.dump_json(nested(100_000))
