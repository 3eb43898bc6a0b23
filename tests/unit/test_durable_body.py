"""JSON bodies are checked strictly and stored byte for byte (G11)."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkstream import wire
from inkstream._errors import InvalidMessage, MessageTooLarge
from inkstream.durable.body import Body, json_array, split_json

SPACE = st.text(alphabet=" \t\n\r", max_size=3)
NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,20})?([eE](\+?[0-9]{1,2}|-[0-9]{1,3}))?", fullmatch=True
)
STRINGS = st.one_of(
    st.text(max_size=8).map(json.dumps),
    st.text(max_size=8).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.just(r'"\ud83d"'),  # the escaped half of a surrogate pair is stored unchanged
    st.just(r'"]},[{\"\\"'),
).filter(lambda text: not any("\ud800" <= char <= "\udfff" for char in text))


@st.composite
def _array(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(st.tuples(SPACE, values, SPACE), max_size=4))
    return "[" + ",".join("".join(item) for item in items) + draw(SPACE) * (not items) + "]"


@st.composite
def _object(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    members = draw(st.lists(st.tuples(SPACE, STRINGS, SPACE, SPACE, values), max_size=4))
    return "{" + ",".join(f"{a}{key}{b}:{c}{value}" for a, key, b, c, value in members) + "}"


JSON_TEXTS = st.recursive(
    st.one_of(NUMBERS, STRINGS, st.sampled_from(["true", "false", "null"])),
    lambda values: st.one_of(_array(values), _object(values)),
    max_leaves=12,
)


@given(st.lists(st.tuples(SPACE, JSON_TEXTS, SPACE), max_size=5), SPACE, SPACE)
def test_array_elements_keep_their_bytes(
    items: list[tuple[str, str, str]], before: str, after: str
) -> None:
    body = before + "[" + ",".join("".join(item) for item in items) + "]" + after
    assert list(split_json(body.encode(), 1024 * 1024)) == [value.encode() for _, value, _ in items]


@given(JSON_TEXTS.filter(lambda text: not text.startswith("[")), SPACE, SPACE)
def test_single_value_keeps_its_bytes(value: str, before: str, after: str) -> None:
    assert list(split_json((before + value + after).encode(), 1024 * 1024)) == [value.encode()]


@given(
    st.binary(max_size=40) | st.text(alphabet='[]{},:"\\ 019.eE+-tfn', max_size=30).map(str.encode)
)
def test_accepts_exactly_valid_json(body: bytes) -> None:
    try:
        found = list(split_json(body, 1024 * 1024))
    except InvalidMessage:
        with pytest.raises((ValueError, RecursionError)):
            json.dumps(json.loads(body.decode(), parse_constant=_no_constant), allow_nan=False)
    else:
        whole = json.loads(body.decode(), parse_constant=_no_constant)
        assert [json.loads(raw) for raw in found] == (whole if isinstance(whole, list) else [whole])


def _no_constant(name: str) -> None:
    raise ValueError(name)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"[1]]",
        b"[1] 2",
        b"1 2",
        b"[1",
        b'{"a":1,}',
        b"01",
        b"1.",
        b"+1",
        b"'a'",
        b'"\x01"',
        b'"\x00"',
        b"\xef\xbb\xbf1",
        '"ä"'.encode("latin-1"),
        '"a"'.encode("utf-16"),
        b'"\xed\xa0\x80"',  # this surrogate is encoded as UTF-8
        b"[" * 200 + b"]" * 200,
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b"[" * 200_000,
        b'{"a":' * 200_000,
    ],
)
def test_invalid_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidMessage):
        list(split_json(body, 1024 * 1024))


@pytest.mark.parametrize(
    "message",
    [
        b"1.0",
        b"-0",
        b"1e5",
        b"123456789012345678901234567890",
        b"9" * sys.int_info.default_max_str_digits,
        b"1.7976931348623157e308",
        b"1e-999",
        b'{"a":1,"a":2}',
        rb'"\u0000 \r\n \ud800"',
        '"\U0001f600"'.encode(),
        b'{"b" : [ ] ,\n"a":{}}',
        b'"' + b"[{" * 500 + b'"',
        b"[" * 126 + b"]" * 126,
    ],
)
def test_json_is_kept_exactly(message: bytes) -> None:
    segment = Body(b"[" + message + b", " + message + b"]").segment(
        is_json=True, message_bytes=100_000
    )
    assert segment is not None
    assert list(wire.decode_messages([segment])) == [wire.RawJSON(message)] * 2
    assert (
        json_array(list(wire.decode_messages([segment]))) == b"[" + message + b"," + message + b"]"
    )


@pytest.mark.parametrize(
    ("number", "named"),
    [
        ("1e999", "1e999"),
        ("-1E+999", "-1E\\+999"),
        ("9" * 400 + ".5", "99999"),
        ("1" * 5000, "has more than 4300 digits"),
        ("-" + "1" * 5000, "has more than 4300 digits"),
    ],
)
@pytest.mark.parametrize("body", ["%s", "[1, %s]", '{"a": [%s]}', '[{"a": {"b": %s}}]'])
def test_a_number_that_no_reader_could_load_is_refused(body: str, number: str, named: str) -> None:
    """G11: Python could not read or write such a number again, so the log would stay unreadable."""
    with pytest.raises(InvalidMessage, match=f"number {named}"):
        list(split_json((body % number).encode(), 1024 * 1024))


def test_json_depth_is_limited() -> None:
    deep = b"[" * wire.MAX_JSON_DEPTH + b"]" * wire.MAX_JSON_DEPTH
    assert list(split_json(b"[" + deep + b"]", 1024 * 1024)) == [deep]
    with pytest.raises(InvalidMessage, match="deep"):
        list(split_json(b"[[" + deep + b"]]", 1024 * 1024))


@pytest.mark.parametrize(
    "body", [b'{"inkstream:end":1}', b'[1,{"inkstream:end":{}}]', rb'{"inkstream\u003aend":1}']
)
def test_end_key_is_reserved(body: bytes) -> None:
    with pytest.raises(InvalidMessage, match="reserved"):
        list(split_json(body, 1024 * 1024))


def test_message_limit_and_empty_array() -> None:
    assert Body(b"[]").segment(is_json=True, message_bytes=10) is None
    with pytest.raises(MessageTooLarge) as caught:
        Body(b'[1,"123456789"]').segment(is_json=True, message_bytes=10)
    assert (caught.value.limit, caught.value.actual) == (10, 11)


def test_a_message_far_past_the_limit_is_counted_in_bytes() -> None:
    body = f'"{"é" * 70_000}"'.encode()
    with pytest.raises(MessageTooLarge) as caught:
        list(split_json(body, 10))
    assert (caught.value.limit, caught.value.actual) == (10, len(body))


def test_bytes_are_kept_as_bytes() -> None:
    segment = Body(b"\x00\xff[").segment(is_json=False, message_bytes=1)
    assert segment is not None
    assert (segment.payload, segment.count, segment.index) == (b"\x00\xff[", 3, b"")
